"""XGBoost's rankers as an estimator (extra `xgboost`). Saved as XGBoost's own JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from feature_repo.errors import MissingError


@dataclass
class XGBoost:
    """An XGBoost model with a ranking objective; `native` holds any further parameters of XGBoost's own."""

    packages: ClassVar[tuple[str, ...]] = ("xgboost",)

    objective: str = "rank:ndcg"
    max_depth: int = 5
    rounds: int = 300
    learning_rate: float = 0.05
    threads: int = 0
    seed: int = 0
    native: Mapping[str, Any] = field(default_factory=dict)

    def fit(self, X: np.ndarray, y: np.ndarray, group: np.ndarray) -> Self:
        """Learn from float32 (rows, columns) with NaN for null, labels from 0, and the sizes of the groups."""
        library = _library()
        params = {
            "objective": self.objective,
            "eta": self.learning_rate,
            "max_depth": self.max_depth,
            "seed": self.seed,
            "nthread": self.threads,
            "tree_method": "hist",
            "verbosity": 0,
        }
        data = library.DMatrix(X, y)
        data.set_group(group)
        self.model_ = library.train({**params, **self.native}, data, self.rounds)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return float64 (rows,); higher is better."""
        return np.asarray(self.model_.predict(_library().DMatrix(X), output_margin=True), np.float64)

    def contributions(self, X: np.ndarray) -> np.ndarray:
        """Return SHAP values, the base last: float64 (rows, columns + 1)."""
        return np.asarray(self.model_.predict(_library().DMatrix(X), pred_contribs=True), np.float64)

    @property
    def feature_importances_(self) -> np.ndarray:
        gains = self.model_.get_score(importance_type="total_gain")
        return np.array([gains.get(f"f{place}", 0.0) for place in range(self.model_.num_features())])

    def save(self, path: Path) -> None:
        path.write_bytes(self.model_.save_raw("json"))

    @classmethod
    def load(cls, path: Path) -> Self:
        model = cls()
        model.model_ = _library().Booster()
        model.model_.load_model(bytearray(path.read_bytes()))
        return model


def _library() -> Any:
    try:
        import xgboost
    except ModuleNotFoundError:
        raise MissingError(
            "ranking.estimators.xgboost.XGBoost",
            expected="the package xgboost",
            got="none installed",
            fix="Install the extra: `pip install 'rankhouse[xgboost]'`.",
        ) from None
    return xgboost
