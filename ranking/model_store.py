"""Models on disk: `<data dir>/models/NAME/` with model.txt (LightGBM) or model.native (an estimator's own format) and
manifest.json; `models/current` names one.

A model's name ends in a digest of its content, so a directory never changes once it is there and the same training
gives the same name. Beside it `reference.json` describes the training set and `validation.parquet` holds the metrics of
every validation user. `current` is replaced atomically, and `models/history` lists what was current before.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.config import EstimatorConfig
from feature_repo.errors import ContractError, MissingError, did_you_mean
from ranking.drift import Reference
from ranking.encoding import Column, Encoding
from ranking.estimator import Plugged, estimator_class
from ranking.trees.scorer import Scorer

if TYPE_CHECKING:
    import lightgbm

    from feature_repo.workspace import Workspace

TREES: Final = "model.txt"
NATIVE: Final = "model.native"
CURRENT: Final = "current"
HISTORY: Final = "history"
REFERENCE: Final = "reference.json"
VALIDATION: Final = "validation.parquet"
PACKAGES: Final = ("feast", "lightgbm", "implicit", "scikit-learn", "numpy", "pyarrow", "duckdb")
ServiceColumns = tuple[tuple[str, str], ...]
"""(name, Feast dtype) of every feature that a service yields, in its order."""


@dataclass(frozen=True)
class ModelManifest:
    """Everything about a model that is not in its trees. Times are ISO 8601 in UTC; `created` is the declared clock.

    `families`: the family of every column of the service (`ranking.families`), empty in models of older versions.
    `estimator`: class and parameters of one in LightGBM's place, empty for LightGBM. `members`: objective, seed, trees
    and weight of every booster in the sum. `configuration`: whatever decided the model and is not at its default
    (events, split, candidates, ranker with its negatives).
    """

    name: str
    service: str
    service_columns: ServiceColumns
    encoding: Encoding
    objective: str
    params: dict[str, Any]
    gains: list[float]
    rounds: int
    seeds: dict[str, int]
    cuts: list[str]
    labels_end: str
    training: dict[str, float]
    metrics: dict[str, float]
    data_fingerprint: str
    created: str
    versions: dict[str, str]
    families: dict[str, str] = field(default_factory=dict)
    estimator: dict[str, Any] = field(default_factory=dict)
    members: list[dict[str, Any]] = field(default_factory=list)
    configuration: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelManifest:
        raw = json.loads(text)
        columns = tuple(
            Column(column["name"], column["kind"], tuple(column["vocabulary"]))
            for column in raw.pop("encoding")["columns"]
        )
        service_columns = tuple((name, kind) for name, kind in raw.pop("service_columns"))
        return cls(**raw, encoding=Encoding(columns), service_columns=service_columns)


@dataclass(frozen=True)
class RankingModel:
    """A loaded model: features of its service in, scores out."""

    manifest: ModelManifest
    booster: lightgbm.Booster | Plugged

    def score(self, features: pa.Table) -> np.ndarray:
        """Return float64 scores, one per row; higher is better."""
        return np.asarray(self.booster.predict(self.manifest.encoding.encode(features)), np.float64)

    @cached_property
    def scorer(self) -> Scorer:
        """What scores requests."""
        return Scorer(self.booster)

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Return SHAP values of encoded rows, float64 (rows, columns + 1); the last column is the base."""
        return np.asarray(self.booster.predict(matrix, pred_contrib=True), np.float64)

    def gains(self) -> np.ndarray:
        """Return how much each column's splits reduced the loss in training, float64 (columns,)."""
        return np.asarray(self.booster.feature_importance("gain"), np.float64)


def versions() -> dict[str, str]:
    """Return the versions of the packages that a model's bytes and its features depend on."""
    from importlib.metadata import version

    return {package: version(package) for package in PACKAGES}


def save(
    workspace: Workspace,
    manifest: ModelManifest,
    booster: lightgbm.Booster | Plugged,
    rounds: int,
    reference: Reference | None = None,
    validation: pa.Table | None = None,
) -> ModelManifest:
    """Write a model under a name of its own and make it the current one; return the manifest with that name.

    `reference` describes the training set, for `rankhouse drift`; `validation` holds the metrics of every user of the
    validation window before the refit, for `rankhouse compare`.
    """
    file, content = _content(booster, rounds)
    digest = sha256(content + manifest.to_json().encode()).hexdigest()[:10]
    named = replace(manifest, name=f"{manifest.name}-{digest}")
    target = workspace.models_path / named.name
    if not target.exists():
        workspace.models_path.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=workspace.models_path))
        try:
            (temporary / file).write_bytes(content)
            (temporary / "manifest.json").write_text(named.to_json(), encoding="utf-8")
            if reference is not None:
                (temporary / REFERENCE).write_text(reference.to_json(), encoding="utf-8")
            if validation is not None:
                pq.write_table(validation, temporary / VALIDATION)
            os.replace(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    promote(workspace, named.name)
    return named


def names(workspace: Workspace) -> list[str]:
    """Return the names of the models that are there, in text order."""
    return sorted(path.parent.name for path in workspace.models_path.glob("[!.]*/manifest.json"))


def current(workspace: Workspace) -> str:
    """Return the current model's name; raise MissingError where nothing was trained yet."""
    pointer = workspace.models_path / CURRENT
    if not pointer.exists():
        raise MissingError(workspace.models_path, expected="a model", got="none", fix="Run `rankhouse train` first.")
    return pointer.read_text(encoding="utf-8").strip()


def promote(workspace: Workspace, name: str) -> None:
    """Make a model the current one, atomically; the one before it is what `rollback` goes back to."""
    _directory(workspace, name)
    pointer = workspace.models_path / CURRENT
    before = pointer.read_text(encoding="utf-8").strip() if pointer.exists() else name
    if before != name:
        _write(workspace.models_path / HISTORY, [*history(workspace), before])
    _write(pointer, [name])


def rollback(workspace: Workspace) -> str:
    """Make the model current that was it before the current one; return its name.

    Raises MissingError where no earlier model is left.
    """
    now, known, earlier = current(workspace), names(workspace), history(workspace)
    # A crash between the two writes leaves the current model on top of the history: it is no step back.
    while earlier and (earlier[-1] == now or earlier[-1] not in known):
        earlier.pop()
    if not earlier:
        raise MissingError(
            workspace.models_path,
            expected=f"a model that was current before {now}",
            got="none",
            fix="Name one: `rankhouse models list`, then `rankhouse models promote NAME`.",
        )
    name = earlier.pop()
    _write(workspace.models_path / CURRENT, [name])
    _write(workspace.models_path / HISTORY, earlier)
    return name


def history(workspace: Workspace) -> list[str]:
    """Return the models that were current before the current one, oldest first."""
    path = workspace.models_path / HISTORY
    return path.read_text(encoding="utf-8").split() if path.exists() else []


def read_manifest(workspace: Workspace, name: str | None = None) -> ModelManifest:
    """Read a model's manifest (default: the current model's)."""
    path = _directory(workspace, name or current(workspace)) / "manifest.json"
    return ModelManifest.from_json(path.read_text(encoding="utf-8"))


def read_reference(workspace: Workspace, name: str) -> Reference:
    """Read what a model's training set looked like; raise MissingError for a model that was saved without it."""
    path = _directory(workspace, name) / REFERENCE
    if not path.exists():
        raise MissingError(
            path, expected="the distributions of the training set", got="no file", fix="Run `rankhouse train` again."
        )
    return Reference.from_json(path.read_text(encoding="utf-8"))


def read_validation(workspace: Workspace, name: str) -> pa.Table:
    """Read how a model did on each user of its validation window; raise MissingError for one saved without it."""
    path = _directory(workspace, name) / VALIDATION
    if not path.exists():
        raise MissingError(
            path, expected="the metrics of the validation users", got="no file", fix="Run `rankhouse train` again."
        )
    return pq.read_table(path)


def load(workspace: Workspace, service_columns: ServiceColumns, name: str | None = None) -> RankingModel:
    """Load a model (default: the current one) for a service that yields `service_columns` now.

    Raises MissingError where there is no such model and ContractError where the service changed since it was trained.
    """
    manifest = read_manifest(workspace, name)
    check_columns(manifest, service_columns)
    return RankingModel(manifest, _read(manifest, _directory(workspace, manifest.name)))


def check_columns(manifest: ModelManifest, service_columns: ServiceColumns) -> None:
    """Raise ContractError unless the service yields exactly the columns that the model was trained on."""
    then, now = dict(manifest.service_columns), dict(service_columns)
    if then == now:
        return
    changes = [
        *(f"{name} is gone" for name in then if name not in now),
        *(f"{name} is new" for name in now if name not in then),
        *(f"{name} was {then[name]} and is {now[name]}" for name in then if name in now and then[name] != now[name]),
    ]
    raise ContractError(
        f"model {manifest.name}",
        expected=f"feature service {manifest.service} with the {len(then)} columns it was trained on",
        got="; ".join(changes),
        fix="Run `rankhouse train`, or bring the service back and `feast apply`.",
    )


def _content(booster: lightgbm.Booster | Plugged, rounds: int) -> tuple[str, bytes]:
    """Return the name and the bytes of the model's file."""
    if not isinstance(booster, Plugged):
        return TREES, booster.model_to_string(num_iteration=rounds).encode()
    with tempfile.TemporaryDirectory() as folder:
        booster.estimator.save(Path(folder) / NATIVE)
        return NATIVE, (Path(folder) / NATIVE).read_bytes()


def _read(manifest: ModelManifest, folder: Path) -> lightgbm.Booster | Plugged:
    if manifest.estimator:
        found = estimator_class(EstimatorConfig.model_validate(manifest.estimator))
        return Plugged(found.load(folder / NATIVE), len(manifest.encoding.columns))
    import lightgbm

    return lightgbm.Booster(model_file=folder / TREES)


def _write(path: Path, lines: list[str]) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    os.replace(temporary, path)


def _directory(workspace: Workspace, name: str) -> Path:
    known = names(workspace)
    if name in known:
        return workspace.models_path / name
    raise MissingError(
        workspace.models_path,
        expected=f"a model named {name}",
        got=", ".join(known) or "no model",
        fix=f"Run `rankhouse train`, or name one that is there.{did_you_mean(name, known)}",
    )
