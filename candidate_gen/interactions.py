"""The log before a cut, encoded for matrices: what every candidate source is fitted on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from feature_repo.columns import CONSUMING, ITEM, TARGET_WEIGHT, TIME, USER

if TYPE_CHECKING:
    import duckdb

UNKNOWN = -1
PASSIVE_WEIGHT = 0.2  # of a passive event beside the lightest target event, where a source learns from both
DAY = 86_400_000_000  # microseconds
MOST_HALVINGS = 100


@dataclass(frozen=True)
class Interactions:
    """Events before `as_of`, ascending in time, as codes into sorted own ids.

    `user_ids`, `item_ids`: distinct ids with an event, or with a row in `users` or `items` known by then, ascending.
    `user`, `item`: int32 codes, -1 never occurs. `time`: int64 microseconds since 1970 UTC. `weight`: float64, label
    weight, 0 where it is no target. `consuming`: bool. `users`, `items`: attributes, one row per code in code
    order (nulls where nothing is known).
    """

    as_of: datetime
    user_ids: pa.Array
    item_ids: pa.Array
    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    weight: np.ndarray
    consuming: np.ndarray
    users: pa.Table
    items: pa.Table

    @cached_property
    def has_passive(self) -> bool:
        """Tell whether some event is no target: a view, an impression, a low rating."""
        return bool((self.weight == 0).any())

    def with_passive(self, *, targets: bool) -> Interactions:
        """Return the same log where passive events weigh, too: PASSIVE_WEIGHT beside `targets`, 1 without them."""
        passive = self.weight == 0
        if targets:
            lightest = self.weight[~passive].min(initial=1.0)
            return replace(self, weight=np.where(passive, PASSIVE_WEIGHT * lightest, self.weight))
        return replace(self, weight=passive.astype(np.float64))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.user_ids), len(self.item_ids)

    def encode_users(self, ids: pa.Array) -> np.ndarray:
        """Return int32 codes of own user ids, -1 for users unknown at the cut."""
        return encode(ids, self.user_ids)

    def encode_items(self, ids: pa.Array) -> np.ndarray:
        """Return int32 codes of own item ids, -1 for items unknown at the cut."""
        return encode(ids, self.item_ids)

    @cached_property
    def seen(self) -> sparse.csr_array:
        """Users x items, True where the user has consumed the item."""
        user, item = self.user[self.consuming], self.item[self.consuming]
        matrix = sparse.coo_array((np.ones(len(user), bool), (user, item)), shape=self.shape).tocsr()
        matrix.sum_duplicates()
        return matrix

    @cached_property
    def positives(self) -> sparse.csr_array:
        """Users x items, float32: the summed label weights."""
        return self._over_targets(self.weight[self._targets.events])

    @cached_property
    def latest_targets(self) -> Latest:
        """The latest target event of every pair of a user and an item."""
        targets = self._targets
        newest = np.empty(len(targets.indices), np.int64)
        newest[targets.cell] = targets.events  # they ascend in time: the last one stays
        order = np.lexsort((self.item[newest], -self.time[newest], self.user[newest]))
        return Latest(newest[order], targets.indptr, order, targets.indices)

    @cached_property
    def _targets(self) -> _Targets:
        events = np.flatnonzero(self.weight > 0)
        users, items = self.shape
        pair, cell = np.unique(self.user[events].astype(np.int64) * items + self.item[events], return_inverse=True)
        user, item = np.divmod(pair, max(items, 1))
        return _Targets(events, cell, item.astype(np.int32), np.searchsorted(user, np.arange(users + 1)))

    def _over_targets(self, weight: np.ndarray) -> sparse.csr_array:
        """Users x items, float32: a weight of each target event, summed."""
        targets = self._targets
        data = np.bincount(targets.cell, weight, minlength=len(targets.indices)).astype(np.float32)
        return sparse.csr_array((data, targets.indices.copy(), targets.indptr.copy()), shape=self.shape)

    @cached_property
    def has_unconsumed(self) -> bool:
        """Tell whether some user has not consumed all that the weights speak of."""
        return (self.positives.astype(bool) > self.seen).nnz > 0

    @cached_property
    def events_per_user(self) -> np.ndarray:
        """The number of events of every user code, int64."""
        return np.bincount(self.user, minlength=self.shape[0])

    def decayed(self, half_life_days: float | None) -> sparse.csr_array:
        """`positives` with every event's weight halved per `half_life_days` before the cut (None: no decay)."""
        if half_life_days is None:
            return self.positives
        return self._over_targets((self.weight * self.fading(half_life_days))[self._targets.events])

    def fading(self, half_life_days: float) -> np.ndarray:
        """Return each event's factor in (0, 1]: one half per half life between the event and the cut, float64.

        It does not fall below 2 ** -MOST_HALVINGS: what is divided by a sum of such factors stays a finite float32.
        """
        age = (microseconds(self.as_of) - self.time) / DAY
        return np.exp2(-np.minimum(age / half_life_days, MOST_HALVINGS))


class Latest(NamedTuple):
    """The latest target event of every pair: ascending users, latest first, at one time the smaller item.

    `events`: int64 positions in the log. `first`: where the users begin, and the length behind them. `entry`: the place
    of each pair among all in ascending order of user and item; `items`: the items in that order.
    """

    events: np.ndarray
    first: np.ndarray
    entry: np.ndarray
    items: np.ndarray


class _Targets(NamedTuple):
    """Target events as entries of a users x items matrix in rows of ascending items.

    `events`: int64 positions in the log, ascending. `cell`: int64, the entry that each adds to. `indices`, `indptr`:
    the items of the entries, and where users begin.
    """

    events: np.ndarray
    cell: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray


def encode(ids: pa.Array, vocabulary: pa.Array) -> np.ndarray:
    """Return int32 positions of `ids` in a distinct `vocabulary`, -1 where absent."""
    positions = pc.index_in(ids.cast(vocabulary.type), value_set=vocabulary)
    return pc.fill_null(positions, UNKNOWN).to_numpy(zero_copy_only=False).astype(np.int32)


def microseconds(moment: datetime) -> int:
    """Return microseconds since 1970 UTC."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def read_interactions(connection: duckdb.DuckDBPyConnection, as_of: datetime) -> Interactions:
    """Read the log before `as_of` from a connection over the lake (`Workspace.connect`)."""
    log = connection.sql(
        f"SELECT {USER}, {ITEM}, epoch_us({TIME}) AS time, {TARGET_WEIGHT}, {CONSUMING} FROM events "
        f"WHERE {TIME} < ? ORDER BY {TIME}, {USER}, {ITEM}, {TARGET_WEIGHT}, {CONSUMING}",
        params=[as_of],
    ).to_arrow_table()
    users, items = (_attributes(connection, table, key, as_of) for table, key in (("users", USER), ("items", ITEM)))
    user_ids, item_ids = _distinct(log[USER], users[USER]), _distinct(log[ITEM], items[ITEM])
    return Interactions(
        as_of=as_of,
        user_ids=user_ids,
        item_ids=item_ids,
        user=encode(log[USER].combine_chunks(), user_ids),
        item=encode(log[ITEM].combine_chunks(), item_ids),
        time=log["time"].to_numpy(),
        weight=log[TARGET_WEIGHT].to_numpy(),
        consuming=log[CONSUMING].to_numpy(),
        users=_in_order(users, USER, user_ids),
        items=_in_order(items, ITEM, item_ids),
    )


def _attributes(connection: duckdb.DuckDBPyConnection, table: str, key: str, as_of: datetime) -> pa.Table:
    """The latest version of every row that was known at the cut."""
    return connection.sql(
        f"SELECT * FROM {table} WHERE {TIME} <= ? "
        f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {TIME} DESC) = 1",
        params=[as_of],
    ).to_arrow_table()


def _distinct(ids: pa.ChunkedArray, more: pa.ChunkedArray) -> pa.Array:
    values = pc.unique(pa.chunked_array([*ids.chunks, *more.cast(ids.type).chunks], ids.type))
    return values.take(pc.sort_indices(values))


def _in_order(table: pa.Table, key: str, ids: pa.Array) -> pa.Table:
    positions = pc.index_in(ids, value_set=table[key].combine_chunks().cast(ids.type))
    return table.take(positions).drop_columns([key, TIME])
