"""User-kNN: what users with the same taste consumed, recent events first."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import sparse

from candidate_gen.history import recent_items
from candidate_gen.interactions import Interactions
from candidate_gen.neighbours import history_factor, history_rows, history_scores
from candidate_gen.similarity import scale_columns, top_k_product, unit_rows
from candidate_gen.source import CandidateSource


class UserKNN(CandidateSource):
    """Sums, over the user's `k` nearest neighbours, similarity times the label weights of what they consumed.

    Similarity is the cosine of the users' last `history` items (None: all); with `weighting="idf"` items that few users
    have count for more. Neighbours come from the `pool` most recently active users, which bounds the work. Their events
    count one half less per half-life of age. `neighbours_`: float32 (users, pool), the similarities.
    Null for users without a target event and for items without one; 0 means that no neighbour has the item.
    """

    floor = 0.0

    def __init__(
        self,
        k: int = 300,
        half_life_days: float | None = 30.0,
        weighting: Literal["cosine", "idf"] = "idf",
        pool: int = 10_000,
        history: int | None = 200,
    ) -> None:
        self.k = k
        self.half_life_days = half_life_days
        self.weighting = weighting
        self.pool = pool
        self.history = history

    def _fit(self, interactions: Interactions) -> None:
        vectors = recent_items(interactions, last=self.history)
        if self.weighting == "idf":
            vectors = scale_columns(vectors, inverse_frequency(vectors))
        vectors = unit_rows(vectors)
        self.pool_ = _most_recent(interactions, self.pool)
        place = np.full(interactions.shape[0], -1, np.int32)
        place[self.pool_] = np.arange(len(self.pool_), dtype=np.int32)
        neighbours = sparse.csr_array(vectors[self.pool_].T)
        self.neighbours_ = top_k_product(vectors, neighbours, self.k, drop=place)
        self.consumed_ = interactions.decayed(self.half_life_days)[self.pool_]
        self.factor_ = history_factor(self.neighbours_, self.consumed_)
        self.inactive_ = np.diff(interactions.positives.indptr) == 0
        self.unliked_ = np.bincount(interactions.item, interactions.weight, minlength=interactions.shape[1]) == 0

    def score_batch(self, users: np.ndarray) -> np.ndarray:
        scores = history_scores(history_rows(self.neighbours_, users), self.factor_)
        inactive = users < 0
        inactive[~inactive] = self.inactive_[users[~inactive]]
        scores[inactive] = np.nan
        scores[:, self.unliked_] = np.nan
        return scores


def inverse_frequency(vectors: sparse.csr_array) -> np.ndarray:
    """Return log((1 + users with a history) / (1 + users with the item)) per item."""
    owners = np.bincount(vectors.indices, minlength=vectors.shape[1])
    return np.log((1 + np.count_nonzero(np.diff(vectors.indptr))) / (1 + owners))


def _most_recent(interactions: Interactions, pool: int) -> np.ndarray:
    """Return the users with the latest target events, ascending; at one time the smaller id comes first."""
    targets = interactions.weight > 0
    latest = np.full(interactions.shape[0], np.iinfo(np.int64).min)
    latest[interactions.user[targets]] = interactions.time[targets]  # events ascend in time: the last one stays
    active = np.flatnonzero(latest > np.iinfo(np.int64).min)
    return np.sort(active[np.argsort(-latest[active], kind="stable")][:pool])
