"""Linear baselines: what the features give without trees. Saved as JSON.

Columns are standardised by what training saw, clipped, and null becomes the mean. Codes of texts have no order that a
line could use; they are left out where `fit` learns which columns hold them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

# Standard deviations from the mean beyond which a value says no more.
_FAR = 5.0


class Linear:
    """Least squares on the labels with a ridge penalty."""

    packages: ClassVar[tuple[str, ...]] = ("scikit-learn",)

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def fit(self, X: np.ndarray, y: np.ndarray, group: np.ndarray, categories: Sequence[int] = ()) -> Self:
        """Learn from float32 (rows, columns) with NaN for null, labels from 0, group sizes; codes in `categories`."""
        self._measure(X, categories)
        self.weights_, self.intercept_ = self._fit(self._standardised(X), y)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return float64 (rows,); higher is better."""
        return self._standardised(X).astype(np.float64) @ self.weights_ + self.intercept_

    def contributions(self, X: np.ndarray) -> np.ndarray:
        """Return what each column adds to each score, the constant last: float64 (rows, columns + 1)."""
        constant = np.full((len(X), 1), self.intercept_)
        return np.hstack([self._standardised(X).astype(np.float64) * self.weights_, constant])

    @property
    def feature_importances_(self) -> np.ndarray:
        return np.abs(self.weights_)

    def save(self, path: Path) -> None:
        content = {
            "params": {"alpha": self.alpha},
            "mean": self.mean_.tolist(),
            "scale": self.scale_.tolist(),
            "weights": self.weights_.tolist(),
            "intercept": self.intercept_,
        }
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        content = json.loads(path.read_text(encoding="utf-8"))
        model = cls(**content["params"])
        model.mean_, model.scale_ = (np.array(content[name], np.float32) for name in ("mean", "scale"))
        model.weights_, model.intercept_ = np.array(content["weights"]), float(content["intercept"])
        return model

    def _fit(self, standardised: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
        from sklearn.linear_model import Ridge

        fitted = Ridge(alpha=self.alpha, solver="cholesky").fit(standardised, y.astype(np.float32))
        return fitted.coef_.astype(np.float64), float(fitted.intercept_)

    def _measure(self, X: np.ndarray, categories: Sequence[int]) -> None:
        """Learn mean and 1 / standard deviation of every column; 0 for constant ones, empty ones and codes."""
        width = X.shape[1]
        self.mean_, self.scale_ = np.zeros(width, np.float32), np.zeros(width, np.float32)
        for place in range(width):
            known = X[~np.isnan(X[:, place]), place].astype(np.float64)
            spread = known.std() if len(known) and place not in set(categories) else 0.0
            if spread > 0:
                self.mean_[place], self.scale_[place] = known.mean(), 1 / spread

    def _standardised(self, X: np.ndarray) -> np.ndarray:
        values = (X - self.mean_) * self.scale_
        return np.clip(np.nan_to_num(values, copy=False), -_FAR, _FAR, out=values)


class Logistic(Linear):
    """Logistic regression on whether the label is above 0; scores are log-odds. `alpha` penalises the weights."""

    def _fit(self, standardised: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
        from sklearn.linear_model import LogisticRegression

        fitted = LogisticRegression(C=1 / self.alpha, max_iter=300).fit(standardised, y > 0)
        return fitted.coef_[0].astype(np.float64), float(fitted.intercept_[0])
