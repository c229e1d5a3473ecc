"""Rankers that plug in by class path: anything with `fit(X, y, group=)` and `predict` that writes itself to a file.

    ranker:
      estimator: {class: ranking.estimators.catboost.CatBoost, params: {depth: 8}}

X is float32 (rows, columns) with NaN for null and codes for texts, y int32 labels (0: not consumed), group the sizes of
consecutive groups. `save(path)` and the class method `load(path)` use a format of the library's own. A class may also
have `contributions(X)`, `feature_importances_`, `packages` (whose versions are noted), parameters `seed` and `threads`,
and `fit(categories=)` for the positions of the columns that hold codes.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from feature_repo.config import EstimatorConfig, RankerConfig
from feature_repo.errors import ConfigError, ContractError, did_you_mean

if TYPE_CHECKING:
    from ranking.encoding import Encoding
    from ranking.ranker import Examples

# Objectives that are estimators of our own: baselines without trees.
BASELINES: Final = {"linear": "ranking.estimators.linear.Linear", "logistic": "ranking.estimators.linear.Logistic"}
_METHODS: Final = ("fit", "predict", "save", "load")
_WHERE: Final = "rankhouse.yaml, key ranker.estimator"


class Estimator(Protocol):
    """What a class has to have."""

    def fit(self, X: np.ndarray, y: np.ndarray, group: np.ndarray) -> object: ...

    def predict(self, X: np.ndarray) -> np.ndarray: ...

    def save(self, path: Path) -> None: ...

    @classmethod
    def load(cls, path: Path) -> Estimator: ...


@dataclass(frozen=True)
class Plugged:
    """A fitted estimator behind the part of `lightgbm.Booster` that scores, explains and weighs."""

    estimator: Estimator
    columns: int

    def predict(
        self,
        matrix: np.ndarray,
        num_iteration: int | None = None,
        num_threads: int | None = None,
        pred_contrib: bool = False,
    ) -> np.ndarray:
        """Return float64 scores (rows,), or contributions (rows, columns + 1); an estimator has all of its rounds."""
        if pred_contrib:
            return np.asarray(self._part("contributions")(matrix), np.float64)
        return np.asarray(self.estimator.predict(matrix), np.float64)

    def feature_importance(self, importance_type: str = "gain") -> np.ndarray:
        """Return float64 (columns,); for `split` every column counts as used."""
        if importance_type == "split":
            return np.ones(self.columns)
        return np.asarray(self._part("feature_importances_"), np.float64)

    def _part(self, name: str) -> object:
        found = getattr(self.estimator, name, None)
        if found is None:
            raise ContractError(
                f"the estimator {class_path(self.estimator)}",
                expected=f"`{name}`, to explain its scores", got="none", fix="Add it to the class.",
            )  # fmt: skip
        return found


def configured_estimator(config: RankerConfig) -> EstimatorConfig | None:
    """Return the estimator that takes LightGBM's place, a declared baseline among them; None for LightGBM."""
    if config.estimator is not None:
        return config.estimator
    path = BASELINES.get(config.objective)
    return None if path is None else EstimatorConfig.model_validate({"class": path})


def fit_estimator(wanted: EstimatorConfig, config: RankerConfig, encoding: Encoding, examples: Examples) -> Plugged:
    """Make and fit an estimator; seed, threads and the columns of codes are given to one that asks for them.

    Raises ConfigError for a class path that leads nowhere, a class without a method that is needed, and parameters that
    it does not take.
    """
    found = estimator_class(wanted)
    known = inspect.signature(found).parameters
    offered = {"seed": config.seed, **({} if config.threads is None else {"threads": config.threads})}
    params = {**{name: value for name, value in offered.items() if name in known}, **wanted.params}
    try:
        estimator = found(**params)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{_WHERE}.params", expected=f"parameters of {wanted.class_path}", got=str(error), fix="Correct them."
        ) from error
    labels, sizes = examples.labels, examples.groups.sizes
    if "categories" in inspect.signature(found.fit).parameters:
        estimator.fit(examples.matrix, labels, group=sizes, categories=encoding.categories)
    else:
        estimator.fit(examples.matrix, labels, group=sizes)
    return Plugged(estimator, len(encoding.columns))


def estimator_class(wanted: EstimatorConfig) -> type:
    """Import the class and check that it has what is needed; raise ConfigError where not."""
    module_name, _, name = wanted.class_path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{_WHERE}.class",
            expected="a class path like ranking.estimators.linear.Logistic",
            got=f"{wanted.class_path!r} ({error})",
            fix="Correct the module's name, or install the package that holds it.",
        ) from error
    found = getattr(module, name, None)
    if not inspect.isclass(found):
        fix = f"Correct the class's name.{did_you_mean(name, vars(module))}"
        raise ConfigError(f"{_WHERE}.class", expected=f"a class in {module_name}", got=repr(name), fix=fix)
    missing = [method for method in _METHODS if not callable(getattr(found, method, None))]
    if missing:
        raise ConfigError(
            f"{_WHERE}.class",
            expected=f"a class with {', '.join(_METHODS)}: models are kept in a format of their own, never as a pickle",
            got=f"{wanted.class_path} without {', '.join(missing)}",
            fix="Derive a class from it that has them; ranking/estimators/catboost.py is an example.",
        )
    return found


def class_path(estimator: object) -> str:
    return f"{type(estimator).__module__}.{type(estimator).__qualname__}"


def package_versions(estimator: object) -> dict[str, str]:
    """Return the versions of the packages that an estimator names."""
    return {package: version(package) for package in getattr(estimator, "packages", ())}
