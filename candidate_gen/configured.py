"""The sources that the configuration names, as objects ready to fit."""

from __future__ import annotations

import importlib
import inspect

from candidate_gen.source import CandidateSource
from feature_repo.config import CandidatesConfig, SourceConfig
from feature_repo.errors import ConfigError, did_you_mean


def configured_sources(config: CandidatesConfig) -> dict[str, CandidateSource]:
    """Return the sources by name, in order of the configuration.

    Raises ConfigError for a class path that leads nowhere, a class that is no CandidateSource, and parameters that its
    constructor does not take.
    """
    return {name: _build(name, source, config.seed) for name, source in config.sources.items()}


def _build(name: str, config: SourceConfig, seed: int) -> CandidateSource:
    where = f"rankhouse.yaml, key candidates.sources.{name}"
    source_class = _import(config.class_path, f"{where}.class")
    _check_published(source_class, config, where)
    known = list(inspect.signature(source_class).parameters)
    for word in config.params:
        if word not in known:
            raise ConfigError(
                f"{where}.params",
                expected=f"parameters of {source_class.__name__} ({', '.join(known) or 'it takes none'})",
                got=repr(word),
                fix=f"Remove it or correct it.{did_you_mean(word, known)}",
            )
    params = dict(config.params)
    if "seed" in known:
        params.setdefault("seed", seed)
    try:
        return source_class(**params)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{where}.params",
            expected=f"values that {source_class.__name__} takes",
            got=str(error),
            fix="Correct them.",
        ) from error


def _check_published(source_class: type[CandidateSource], config: SourceConfig, where: str) -> None:
    method = {"vectors": "vectors", "biases": "vectors", "neighbours": "similar_items"}
    for what in config.publish:
        if getattr(source_class, method[what]) is getattr(CandidateSource, method[what]):
            raise ConfigError(
                f"{where}.publish",
                expected=f"what {source_class.__name__} has",
                got=f"{what}: it has no `{method[what]}`",
                fix="Remove it, or implement the method.",
            )


def _import(class_path: str, where: str) -> type[CandidateSource]:
    module_name, _, class_name = class_path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            where, expected="a class path like candidate_gen.als.ALS", got=f"{class_path!r} ({error})",
            fix="Correct the module's name, or install the package that holds it.",
        ) from error  # fmt: skip
    found = getattr(module, class_name, None)
    if found is None:
        fix = f"Correct the class's name.{did_you_mean(class_name, _sources_in(module.__dict__))}"
        raise ConfigError(where, expected=f"a class in {module_name}", got=repr(class_name), fix=fix)
    if not (inspect.isclass(found) and issubclass(found, CandidateSource)) or inspect.isabstract(found):
        raise ConfigError(
            where, expected="a subclass of candidate_gen.source.CandidateSource that can be made",
            got=class_path, fix="Derive it from CandidateSource and implement `_fit` and `score_batch`.",
        )  # fmt: skip
    return found


def _sources_in(namespace: dict[str, object]) -> list[str]:
    return [
        name
        for name, value in namespace.items()
        if inspect.isclass(value) and issubclass(value, CandidateSource) and not inspect.isabstract(value)
    ]
