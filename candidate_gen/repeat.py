"""The user's own past items, by decayed frequency: what people buy, play or read again."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from candidate_gen.interactions import DAY, Interactions, microseconds
from candidate_gen.source import CandidateSource, Events


class RepeatConsumption(CandidateSource):
    """Scores a user's past target items by log2 of their summed label weights, halved per `half_life_days` of age.

    The logarithm keeps events that lie hundreds of half-lives back apart. NaN for items that the user never had. With
    `exclude_seen` nothing is left of target events to propose: they are for catalogues where repeats are allowed. From
    `passive` events it proposes what the user has met and not taken yet.
    """

    past_only = True

    def __init__(self, half_life_days: float | None = 30.0, events: Events = "targets") -> None:
        self.half_life_days = half_life_days
        self.events = events

    def _fit(self, interactions: Interactions) -> None:
        users, items = interactions.shape
        targets = np.flatnonzero(interactions.weight > 0)
        pair = interactions.user[targets].astype(np.int64) * items + interactions.item[targets]
        distinct, group = np.unique(pair, return_inverse=True)
        # Halvings since the cut, counted from the pair's latest event so that old pairs don't vanish.
        age = (microseconds(interactions.as_of) - interactions.time[targets]) / DAY
        halvings = age / (self.half_life_days or np.inf)
        least = np.full(len(distinct), np.inf)
        np.minimum.at(least, group, halvings)
        weights = interactions.weight[targets] * np.exp2(least[group] - halvings)
        score = np.log2(np.bincount(group, weights, minlength=len(distinct))) - least
        user, item = np.divmod(distinct, items)
        indptr = np.searchsorted(user, np.arange(users + 1))
        self.scores_ = sparse.csr_array((score.astype(np.float32), item, indptr), shape=interactions.shape)

    def score_batch(self, users: np.ndarray) -> np.ndarray:
        scores = np.full((len(users), self.interactions_.shape[1]), np.nan, np.float32)
        known = np.flatnonzero(users >= 0)
        own = self.scores_[users[known]]
        scores[np.repeat(known, np.diff(own.indptr)), own.indices] = own.data
        return scores
