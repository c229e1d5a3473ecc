"""Matrix factorisation by alternating least squares (implicit), scored as the dot product of user and item vectors."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import sparse

from candidate_gen.interactions import Interactions
from candidate_gen.source import HALF_LIFE, CandidateSource, Events, Vectors


class ALS(CandidateSource):
    """implicit's ALS over the label weights.

    `alpha` multiplies the weights; `half_life_days` fades them with age (None: not). `user_factors_` and
    `item_factors_`: float32, one row per code, NaN where nobody liked the item or the user liked nothing.
    The number of threads does not change the result.
    """

    suited: ClassVar[tuple[str, ...]] = (HALF_LIFE, "regularization")

    def __init__(
        self,
        factors: int = 8,
        regularization: float = 50.0,
        iterations: int = 15,
        alpha: float = 1.0,
        half_life_days: float | None = None,
        threads: int = 1,
        seed: int = 0,
        events: Events = "targets",
    ) -> None:
        self.factors = factors
        self.regularization = regularization
        self.iterations = iterations
        self.alpha = alpha
        self.half_life_days = half_life_days
        self.threads = threads
        self.seed = seed
        self.events = events

    def _fit(self, interactions: Interactions) -> None:
        from implicit.cpu.als import AlternatingLeastSquares

        matrix = interactions.decayed(self.half_life_days)
        # Ids without a liked pair stay out: the random start must not depend on who else is known by attributes.
        users, items = (np.flatnonzero(matrix.count_nonzero(axis=axis)) for axis in (1, 0))
        model = AlternatingLeastSquares(
            factors=self.factors,
            regularization=self.regularization,
            iterations=self.iterations,
            alpha=self.alpha,
            num_threads=self.threads,
            random_state=self.seed,
        )
        model.fit(sparse.csr_matrix(matrix[users][:, items]), show_progress=False)
        self.user_factors_ = _spread(model.user_factors, users, matrix.shape[0])
        self.item_factors_ = _spread(model.item_factors, items, matrix.shape[1])

    def score_batch(self, users: np.ndarray) -> np.ndarray:
        vectors = np.full((len(users), self.factors), np.nan, np.float32)
        vectors[users >= 0] = self.user_factors_[users[users >= 0]]
        return vectors @ self.item_factors_.T

    def vectors(self) -> Vectors:
        return Vectors(self.user_factors_, self.item_factors_)


def _spread(factors: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Return `factors` at their `rows` of `count`, NaN elsewhere."""
    spread = np.full((count, factors.shape[1]), np.nan, np.float32)
    spread[rows] = factors
    return spread
