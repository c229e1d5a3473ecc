"""The interface of a candidate source, in scikit-learn's manner.

A source declares its parameters in `__init__`, learns in `fit` and answers in own ids. It implements two methods:
`_fit` and `score_batch`; proposing, filtering, ranking and pair scores follow from them for all sources alike.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import ClassVar, Final, Literal, NamedTuple, Self, get_args

import numpy as np
import pyarrow as pa
from scipy import sparse
from sklearn.base import BaseEstimator

from candidate_gen.blas import one_blas_thread
from candidate_gen.interactions import Interactions
from candidate_gen.selection import best
from feature_repo.columns import ITEM, RANK, SCORE, USER
from feature_repo.errors import ConfigError

BATCH = 512
HALF_LIFE: Final = "half_life_days"

Events = Literal["targets", "all", "passive"]


class SourceSkipped(ConfigError):
    """A source can't learn from this log; a pipeline goes on without it."""


class CandidateSource(BaseEstimator, ABC):
    """Proposes items to users and scores any pair of a known user and item.

    A pair that scores at or below `floor` is scored but not proposed: 0 for sources whose zero means "no evidence".
    A constructor parameter called `seed` is set from the configuration where it names none; one called `events` says
    what the source learns from: `targets`, `passive` events (of no target type: views, low ratings), or `all`.
    """

    floor: ClassVar[float] = -math.inf
    past_only: ClassVar[bool] = False
    """Proposes nothing but items of the user's own past; a pipeline leaves it out where all of those are consumed."""
    suited: ClassVar[tuple[str, ...]] = (HALF_LIFE,)
    """Parameters whose best value depends on the log, see suited.py; those that a source does not have say nothing."""
    interactions_: Interactions

    def fit(self, interactions: Interactions) -> Self:
        """Learn from events before `interactions.as_of`.

        Raises SourceSkipped where the source is too large for the log, or its kind of events is not in it.
        """
        self.interactions_ = interactions
        with one_blas_thread():
            self._fit(self.learned_from(interactions))
        return self

    def learned_from(self, interactions: Interactions) -> Interactions:
        """Return the log with weights on the kind of events that this source learns from, see `fit`."""
        events = self.get_params().get("events", "targets")
        if events not in get_args(Events):
            raise ConfigError(
                f"{type(self).__name__}, parameter events", expected=" or ".join(get_args(Events)), got=repr(events),
                fix="Correct it.",
            )  # fmt: skip
        if events == "targets":
            return interactions
        if not interactions.has_passive:
            raise SourceSkipped(
                f"{type(self).__name__} with events: {events}", expected="events of types that are no targets",
                got="target events only", fix="Leave the source out: on this log it would repeat what others say.",
            )  # fmt: skip
        return interactions.with_passive(targets=events == "all")

    @abstractmethod
    def _fit(self, interactions: Interactions) -> None:
        """Set the learned attributes."""

    @abstractmethod
    def score_batch(self, users: np.ndarray) -> np.ndarray:
        """Return float32 scores, shape (len(users), items), for int32 user codes (-1: unknown user).

        NaN where the source cannot score the pair; higher is better. Several threads call this at a time: it must not
        change the source.
        """

    def vectors(self) -> Vectors | None:
        """Return vectors whose dot product (and biases, added) is the score; None where scores come another way.

        They are published where the configuration says so; the same holds for `similar_items`.
        """
        return None

    def similar_items(self) -> sparse.csr_array | None:
        """Return items x items weights, float32: what item i (row) in a history adds to the score of each other item.

        None where scores come another way.
        """
        return None

    def recommend(self, users: pa.Array, n: int, *, exclude_seen: bool = True) -> pa.Table:
        """Return the top n per user: user_id, item_id, score (float32), rank (int32 from 1).

        Ties go to the smaller item id. Users whom the source can't serve have no rows.
        """
        interactions = self.interactions_
        codes = interactions.encode_users(users)
        with one_blas_thread():
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
        with one_blas_thread():
            for number, (start, stop) in enumerate(pairwise(bounds)):
                rows = order[start:stop]
                scores = self.score_batch(distinct[number * BATCH : (number + 1) * BATCH])
                known = item[rows] >= 0
                result[rows[known]] = scores[position[rows[known]] - number * BATCH, item[rows[known]]]
        return pa.array(result, mask=np.isnan(result))

    def _top(self, users: np.ndarray, n: int, exclude_seen: bool) -> tuple[np.ndarray, ...]:
        scores = self.score_batch(users)
        excluded = seen_positions(self.interactions_, users) if exclude_seen else None
        top = best(scores, n, floor=self.floor, excluded=excluded)
        counts = np.bincount(top.row, minlength=len(users))
        return counts, top.item, scores[top.row, top.item], top.rank


class Vectors(NamedTuple):
    """float32 (users, factors) and (items, factors), rows in code order; NaN rows where nothing was learned.

    Biases, float32 (users,) and (items,), only where the model has them: none of the sources here does.
    """

    users: np.ndarray
    items: np.ndarray
    user_bias: np.ndarray | None = None
    item_bias: np.ndarray | None = None


def seen_positions(interactions: Interactions, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (row, item) positions of what the users of a batch have consumed; unknown users have consumed nothing."""
    known = np.flatnonzero(users >= 0)
    seen = interactions.seen[users[known]]
    return np.repeat(known, np.diff(seen.indptr)), seen.indices
