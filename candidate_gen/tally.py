"""Counting, batch by batch, what the proposals of stage one hold of the relevant items."""

from __future__ import annotations

from typing import Final

import numpy as np

from candidate_gen.interactions import Interactions
from candidate_gen.pairs import Pairs
from candidate_gen.relevant import Relevant

DEPTHS: Final = (20, 50, 100, 200)
UNION_DEPTHS: Final = (20, 40, 60, 80, 100, 150, 200)
K: Final = 10


class Tally:
    """Counts over all users, and for what describes the lists themselves over users with an event before the cut.

    `history`: int64 (users,), events before the cut. `found`: int64 (sources, depths + 1, users), hits within each of
    DEPTHS and the configured depth (last). `gain`: float64 (sources, users), discounted gain of the first ten.
    `size`, `held`: int64 (UNION_DEPTHS + 1, users), candidates and hits of the union at the same depth for all, and at
    the configured ones (last). `both`: int64 (sources, sources), pairs that two sources propose. `alone`: hits of one
    source only. `new`: proposals without an event. `covered`: bool (sources, items).
    """

    def __init__(self, depths: dict[str, int], relevant: Relevant, interactions: Interactions) -> None:
        users, sources = len(relevant.users), len(depths)
        codes = interactions.encode_users(relevant.users)
        known = np.append(interactions.events_per_user, 0)  # code -1 takes the last place
        self.depths = np.array(list(depths.values()))
        self.relevant = relevant
        self.history = known[codes]
        self.warm = self.history > 0
        self.old = np.bincount(interactions.item, minlength=interactions.shape[1]) > 0
        self.found = np.zeros((sources, len(DEPTHS) + 1, users), np.int64)
        self.gain = np.zeros((sources, users))
        self.size, self.held = np.zeros((2, len(UNION_DEPTHS) + 1, users), np.int64)
        self.both = np.zeros((sources, sources), np.int64)
        self.alone, self.new = np.zeros((2, sources), np.int64)
        self.covered = np.zeros((sources, interactions.shape[1]), bool)

    def add(self, pairs: Pairs, first: int) -> None:
        """Count a batch whose first user stands at position `first`."""
        user = pairs.row + first
        hit = self.relevant.holds(user, pairs.item)
        ranks = np.stack(list(pairs.ranks.values()))
        within = ranks <= self.depths[:, None]
        for number, rank in enumerate(ranks):
            for place, depth in enumerate((*DEPTHS, self.depths[number])):
                self.found[number, place] += self._count(user, hit & (rank <= depth))
            self.gain[number] += np.bincount(
                user, (hit & (rank <= K)) / np.log2(rank + 1.0), minlength=len(self.relevant.users)
            )
        for place, members in enumerate(
            [*((ranks <= depth).any(axis=0) for depth in UNION_DEPTHS), within.any(axis=0)]
        ):
            self.size[place] += self._count(user, members)
            self.held[place] += self._count(user, members & hit)
        self._describe(within[:, self.warm[user]], pairs.item[self.warm[user]], hit[self.warm[user]])

    def _describe(self, within: np.ndarray, item: np.ndarray, hit: np.ndarray) -> None:
        members = within.astype(np.float64)
        self.both += (members @ members.T).astype(np.int64)
        self.alone += (within & hit & (within.sum(axis=0) == 1)).sum(axis=1)
        self.new += (within & ~self.old[item]).sum(axis=1)
        for number, proposed in enumerate(within):
            self.covered[number, item[proposed]] = True

    def _count(self, user: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        return np.bincount(user[chosen], minlength=len(self.relevant.users))

    def ndcg(self) -> np.ndarray:
        """Return NDCG@10 (sources, users): binary relevance, ideal over min(10, relevant)."""
        ideal = np.cumsum(1.0 / np.log2(np.arange(2, K + 2)))
        return self.gain / ideal[np.minimum(self.relevant.counts, K) - 1]
