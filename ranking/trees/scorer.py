"""Scoring on one thread: by LightGBM until `warm_up`, then by our own walk of its trees where we know their kind.

`predictor` is for many rows at once. LightGBM takes some 75 ns for a row and tree, our walk a ninth of that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from ranking.estimator import Plugged
from ranking.trees.forest import Forest

if TYPE_CHECKING:
    import lightgbm


Predict = Callable[[np.ndarray], np.ndarray]
"""From float32 rows to float64 scores."""
BLOCK: Final = 1 << 13
"""So many rows of a model's hundreds of columns stay in the caches while they are turned and scored."""
_MANY: Final = 100_000_000
"""Of so many rows times trees LightGBM is done about when our walk has been laid out and compiled."""


def predictor(
    booster: lightgbm.Booster | Plugged, rows: int, *, rounds: int | None = None, raw: bool = False
) -> Predict:
    """Return what scores by the first `rounds` trees, for `rows` rows in all.

    `raw`: without the objective's sigmoid. Who computes the scores changes no bit of them.
    """
    if isinstance(booster, Plugged):
        return booster.predict
    trees = min(rounds or booster.num_trees(), booster.num_trees())
    forest = Forest.of(booster, rounds=rounds, raw=raw) if rows * trees >= _MANY else None
    return partial(booster.predict, num_iteration=rounds, raw_score=raw) if forest is None else forest.predict


def in_blocks(predict: Predict, matrix: np.ndarray) -> np.ndarray:
    """Return the scores of a matrix, some rows at a time."""
    return np.concatenate([predict(matrix[start : start + BLOCK]) for start in range(0, len(matrix), BLOCK)])


@dataclass
class Scorer:
    """Scores of a model's rows; who computes them changes no bit of them."""

    booster: lightgbm.Booster | Plugged
    forest: Forest | None = None

    @property
    def forks(self) -> bool:
        """Whether it scores in a fork, too: threads that another library computes with do not survive one."""
        return self.forest is not None

    def warm_up(self) -> None:
        """Lay out the trees and compile what walks them: seconds, once per process."""
        if self.forest is None and not isinstance(self.booster, Plugged):
            forest = Forest.of(self.booster)
            if forest is not None:
                forest.predict(np.zeros((1, forest.columns), np.float32))
            self.forest = forest

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return float64 scores (rows,) of a float32 matrix, on the calling thread: requests don't wait for others."""
        if self.forest is None:
            return self.booster.predict(matrix, num_threads=1)
        return self.forest.predict(matrix)
