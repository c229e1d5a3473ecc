"""What of rankings is judged: which places hold something relevant, and what a list shows first.

Both are gathered some users at a time. Of the rows of a ranking only its hits and its first k places are kept, so what
is held grows with the judged users and with what they took, not with what was proposed to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from feature_repo.columns import ITEM, RANK, USER
from ranking.beyond_accuracy import Catalogue
from ranking.order import Groups
from ranking.truth import Truth

NOT_LISTED = 0
"""The rank of a row that is not in a list."""


@dataclass(frozen=True)
class Hits:
    """What of a ranking is judged.

    `user`, `rank`, `item`: int64 per hit, the position in `Truth.users`, the rank from 1, the place in the catalogue.
    `shown`: int32 (users, k), the place in the catalogue of the item at each rank, -1 where none is.
    """

    user: np.ndarray
    rank: np.ndarray
    item: np.ndarray
    shown: np.ndarray

    def matrix(self, depth: int) -> np.ndarray:
        """Return bool (users, ranks): the hits, at least so deep."""
        found = np.zeros((len(self.shown), max(depth, int(self.rank.max(initial=0)))), bool)
        found[self.user, self.rank - 1] = True
        return found

    def lists(self, truth: Truth, catalogue: Catalogue) -> pa.Table:
        """Return user_id, item_id, rank (int32 from 1) of what is shown first, by user and rank."""
        user, place = np.nonzero(self.shown >= 0)
        items = catalogue.items.take(pa.array(self.shown[user, place]))
        ranks = pa.array((place + 1).astype(np.int32))
        return pa.table({USER: truth.users.take(pa.array(user)), ITEM: items, RANK: ranks})

    def on(self, chosen: np.ndarray, users: np.ndarray) -> Hits:
        """Return the hits on items where `chosen` (bool per item) holds, of the users at these positions, ascending."""
        kept = chosen[self.item] & np.isin(self.user, users)
        user = np.searchsorted(users, self.user[kept])
        return Hits(user, self.rank[kept], self.item[kept], self.shown[users])


@dataclass
class Gathered:
    """Hits of several rankings, while rows of more and more users come.

    `ranks` of `add` maps each ranking to the rank of every row, int (rows,), NOT_LISTED for what it does not list.
    """

    truth: Truth
    catalogue: Catalogue
    k: int
    _found: dict[str, list[tuple[np.ndarray, ...]]] = field(default_factory=dict)
    _shown: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._relevant = np.sort(self._cells(self.truth.user, self.catalogue.places(self.truth.items)))

    def add(self, user: np.ndarray, items: pa.Array, ranks: Mapping[str, np.ndarray]) -> None:
        """Take rows: the position of each one's user in `Truth.users`, -1 for one who is not judged, and its item."""
        item = self.catalogue.places(items)
        hit = (user >= 0) & (item >= 0)
        hit[hit] = np.isin(self._cells(user[hit], item[hit]), self._relevant)
        hits = np.flatnonzero(hit)
        for name, rank in ranks.items():
            listed = hits[rank[hits] != NOT_LISTED]
            self._found.setdefault(name, []).append((user[listed], rank[listed].astype(np.int64), item[listed]))
            first = np.flatnonzero((rank != NOT_LISTED) & (rank <= self.k) & (user >= 0))
            shown = self._shown.setdefault(name, np.full((len(self.truth.users), self.k), -1, np.int32))
            shown[user[first], rank[first].astype(np.int64) - 1] = item[first]

    def rankings(self) -> dict[str, Hits]:
        """Return the hits of every ranking."""
        return {
            name: Hits(*(np.concatenate(column) for column in zip(*found, strict=True)), self._shown[name])
            for name, found in self._found.items()
        }

    def _cells(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return user * len(self.catalogue.items) + item


def hits_of(lists: pa.Table, truth: Truth, catalogue: Catalogue, k: int) -> Hits:
    """Return the hits of lists with user_id, item_id and rank (from 1)."""
    gathered = Gathered(truth, catalogue, k)
    users, items = (lists[name].combine_chunks() for name in (USER, ITEM))
    gathered.add(truth.position(users), items, {RANK: lists[RANK].to_numpy()})
    return gathered.rankings()[RANK]


def row_users(truth: Truth, users: pa.Array, groups: Groups) -> np.ndarray:
    """Return the position of every row's user in `Truth.users`; `users`: own id of every group of rows."""
    return np.repeat(truth.position(users), groups.sizes)
