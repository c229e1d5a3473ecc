"""CatBoost's rankers as an estimator (extra `catboost`). Saved in CatBoost's own format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from feature_repo.errors import MissingError

_OF_THE_MOMENT = ("train_finish_time", "model_guid")


@dataclass
class CatBoost:
    """A CatBoost model with a ranking loss; `native` holds any further parameters of CatBoost's own."""

    packages: ClassVar[tuple[str, ...]] = ("catboost",)

    loss: str = "YetiRank"
    rounds: int = 500
    learning_rate: float = 0.05
    depth: int = 6
    seed: int = 0
    threads: int = -1
    native: Mapping[str, Any] = field(default_factory=dict)

    def fit(self, X: np.ndarray, y: np.ndarray, group: np.ndarray) -> Self:
        """Learn from float32 (rows, columns) with NaN for null, labels from 0, and the sizes of the groups."""
        library = _library()
        params = {
            "loss_function": self.loss,
            "iterations": self.rounds,
            "learning_rate": self.learning_rate,
            "depth": self.depth,
            "random_seed": self.seed,
            "thread_count": self.threads,
            "allow_writing_files": False,
            "verbose": False,
        }
        pool = library.Pool(X, y, group_id=np.repeat(np.arange(len(group)), group))
        self.model_ = library.CatBoost({**params, **self.native}).fit(pool)
        for name in _OF_THE_MOMENT:  # else no two trainings would give the same bytes
            self.model_.get_metadata()[name] = ""
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return float64 (rows,); higher is better."""
        return np.asarray(self.model_.predict(X), np.float64)

    def contributions(self, X: np.ndarray) -> np.ndarray:
        """Return SHAP values, the base last: float64 (rows, columns + 1)."""
        return np.asarray(self.model_.get_feature_importance(_library().Pool(X), type="ShapValues"), np.float64)

    @property
    def feature_importances_(self) -> np.ndarray:
        return np.asarray(self.model_.get_feature_importance(type="PredictionValuesChange"), np.float64)

    def save(self, path: Path) -> None:
        self.model_.save_model(str(path), format="cbm")

    @classmethod
    def load(cls, path: Path) -> Self:
        model = cls()
        model.model_ = _library().CatBoost().load_model(str(path), format="cbm")
        return model


def _library() -> Any:
    try:
        import catboost
    except ModuleNotFoundError:
        raise MissingError(
            "ranking.estimators.catboost.CatBoost",
            expected="the package catboost",
            got="none installed",
            fix="Install the extra: `pip install 'rankhouse[catboost]'`.",
        ) from None
    return catboost
