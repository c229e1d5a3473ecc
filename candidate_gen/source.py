"""The interface of a candidate source, in scikit-learn's manner.

A source declares its parameters in `__init__`, learns in `fit` and answers in own ids. It implements two methods:
`_fit` and `score_batch`; proposing, filtering, ranking and pair scores follow from them for all sources alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import numpy as np
import pyarrow as pa
from sklearn.base import BaseEstimator

from candidate_gen.interactions import Interactions
from feature_repo.columns import ITEM, RANK, SCORE, USER

BATCH = 512


class CandidateSource(BaseEstimator, ABC):
    """Proposes items to users and scores any pair of a known user and item."""

    interactions_: Interactions

    def fit(self, interactions: Interactions) -> Self:
        """Learn from events before `interactions.as_of`."""
        self.interactions_ = interactions
        self._fit(interactions)
        return self

    @abstractmethod
    def _fit(self, interactions: Interactions) -> None:
        """Set the learned attributes."""

    @abstractmethod
    def score_batch(self, users: np.ndarray) -> np.ndarray:
        """Return float32 scores, shape (len(users), items), for int32 user codes (-1: unknown user).

        NaN where the source cannot score the pair; higher is better.
        """

    def recommend(self, users: pa.Array, n: int, *, exclude_seen: bool = True) -> pa.Table:
        """Return the top n per user: user_id, item_id, score (float32), rank (int32 from 1).

        Ties go to the smaller item id. Users whom the source can't serve have no rows.
        """
        interactions = self.interactions_
        codes = interactions.encode_users(users)
        parts = [self._top(codes[start : start + BATCH], n, exclude_seen) for start in range(0, len(codes), BATCH)]
        counts, items, scores, ranks = (np.concatenate(column) for column in zip(*parts, strict=True))
        rows = np.repeat(np.arange(len(codes)), counts)
        return pa.table(
            {USER: users.take(pa.array(rows)), ITEM: interactions.item_ids.take(pa.array(items)), SCORE: scores,
             RANK: ranks}
        )  # fmt: skip

    def score(self, users: pa.Array, items: pa.Array) -> pa.Array:
        """Return float32 scores of pairs in own ids; null where the source cannot score the pair."""
        interactions = self.interactions_
        user, item = interactions.encode_users(users), interactions.encode_items(items)
        distinct, position = np.unique(user, return_inverse=True)
        order = np.argsort(position, kind="stable")
        result = np.full(len(user), np.nan, np.float32)
        bounds = np.searchsorted(position[order], np.arange(0, len(distinct) + BATCH, BATCH))
        for number, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
            rows = order[start:stop]
            scores = self.score_batch(distinct[number * BATCH : (number + 1) * BATCH])
            known = item[rows] >= 0
            result[rows[known]] = scores[position[rows[known]] - number * BATCH, item[rows[known]]]
        return pa.array(result, mask=np.isnan(result))

    def _top(self, users: np.ndarray, n: int, exclude_seen: bool) -> tuple[np.ndarray, ...]:
        scores = np.where(np.isnan(batch := self.score_batch(users)), -np.inf, batch)
        if exclude_seen:
            scores[seen_mask(self.interactions_, users)] = -np.inf
        items, best = top_n(scores, n)
        kept = np.isfinite(best)
        ranks = np.broadcast_to(np.arange(1, items.shape[1] + 1, dtype=np.int32), items.shape)
        return kept.sum(axis=1), items[kept], best[kept], ranks[kept]


def seen_mask(interactions: Interactions, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (row, item) positions of what the users of a batch have consumed; unknown users have consumed nothing."""
    known = np.flatnonzero(users >= 0)
    seen = interactions.seen[users[known]]
    return np.repeat(known, np.diff(seen.indptr)), seen.indices


def top_n(scores: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (items, scores) of the n best per row, best first; ties go to the smaller column.

    `scores`: float32 (rows, items) without NaN. Both results have shape (rows, min(n, items)).
    """
    rows, width = scores.shape
    n = min(n, width)
    # The n-th best value decides membership; among its equals the first columns win.
    threshold = np.partition(scores, width - n, axis=1)[:, width - n, None]
    above = scores > threshold
    equal = scores == threshold
    equal &= np.cumsum(equal, axis=1, dtype=np.int32) <= n - above.sum(axis=1, keepdims=True)
    items = np.nonzero(above | equal)[1].reshape(rows, n)
    values = np.take_along_axis(scores, items, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(items, order, axis=1), np.take_along_axis(values, order, axis=1)
