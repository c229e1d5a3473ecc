"""Scoring on one thread: by LightGBM until `warm_up`, then by our own walk of its trees where we know their kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ranking.estimator import Plugged
from ranking.trees.forest import Forest

if TYPE_CHECKING:
    import lightgbm


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
