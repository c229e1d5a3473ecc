"""The truth protocol: who is judged on a window and which items count as relevant.

Users with at least one event before the cut and one relevant item in the window; relevant are the distinct target
items of the window that the user had not consumed before the cut (unless repeats are allowed) and that had an event
before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from candidate_gen.interactions import encode
from feature_repo.columns import CONSUMING, ITEM, RANK, TARGET_WEIGHT, TIME, USER
from feature_repo.errors import DataError
from feature_repo.periods import Window

if TYPE_CHECKING:
    import duckdb

    from feature_repo.workspace import Workspace

_NOT_SEEN = f"""
  AND NOT EXISTS (SELECT 1 FROM events AS seen WHERE seen.{TIME} < $start AND seen.{CONSUMING}
                  AND seen.{USER} = target.{USER} AND seen.{ITEM} = target.{ITEM})"""

_RELEVANT = f"""
SELECT DISTINCT {USER}, {ITEM} FROM events AS target
WHERE {TIME} >= $start AND {TIME} < $end AND {TARGET_WEIGHT} > 0
  AND {USER} IN (SELECT {USER} FROM events WHERE {TIME} < $start)
  AND {ITEM} IN (SELECT {ITEM} FROM events WHERE {TIME} < $start){{not_seen}}
ORDER BY {USER}, {ITEM}"""


@dataclass(frozen=True)
class Truth:
    """The relevant pairs of a window, sorted by user and item.

    `users`: the judged users, ascending, own ids. `user`: int64 position in `users` per pair. `items`: own item ids per
    pair. `catalogue`: how many items had an event before the cut.
    """

    window: Window
    users: pa.Array
    user: np.ndarray
    items: pa.Array
    catalogue: int

    @property
    def relevant(self) -> np.ndarray:
        """How many items are relevant to each user, int64 (users,)."""
        return np.bincount(self.user, minlength=len(self.users))

    @property
    def pairs(self) -> pa.Table:
        """The relevant pairs in own ids: user_id, item_id."""
        return pa.table({USER: self.users.take(pa.array(self.user)), ITEM: self.items})

    def position(self, users: pa.Array) -> np.ndarray:
        """Return int64 positions of own user ids in `users`, -1 for a user who is not judged."""
        return _code(users, self.users)

    def among(self, users: pa.Array) -> Truth:
        """Return the truth of those of the judged users who are among `users` (own ids)."""
        kept = pc.is_in(self.users, value_set=users.cast(self.users.type)).to_numpy(zero_copy_only=False)
        pairs = kept[self.user]
        place = np.cumsum(kept) - 1
        return replace(
            self,
            users=self.users.filter(pa.array(kept)),
            user=place[self.user[pairs]],
            items=self.items.filter(pa.array(pairs)),
        )

    def is_relevant(self, users: pa.Array, items: pa.Array) -> np.ndarray:
        """Return bool per (user, item) pair in own ids."""
        vocabulary = pc.unique(self.items)
        user, item = self.position(users), _code(items, vocabulary)
        keys = self.user * len(vocabulary) + _code(self.items, vocabulary)
        return (user >= 0) & (item >= 0) & np.isin(user * len(vocabulary) + item, keys)

    def hits(self, lists: pa.Table, depth: int) -> np.ndarray:
        """Return bool (users, depth) for lists with user_id, item_id and rank (from 1); others' rows are skipped."""
        lists = lists.select([USER, ITEM, RANK])
        users, items = (lists[name].combine_chunks() for name in (USER, ITEM))
        user, rank = self.position(users), lists[RANK].to_numpy().astype(np.int64)
        kept = (user >= 0) & (rank <= depth) & self.is_relevant(users, items)
        result = np.zeros((len(self.users), depth), bool)
        result[user[kept], rank[kept] - 1] = True
        return result


def read_truth(connection: duckdb.DuckDBPyConnection, window: Window, *, allow_repeats: bool) -> Truth:
    """Read the truth of a window from a connection over the lake (`Workspace.connect`)."""
    query = _RELEVANT.format(not_seen="" if allow_repeats else _NOT_SEEN)
    pairs = connection.sql(query, params={"start": window.start, "end": window.end}).to_arrow_table()
    users = pairs[USER].combine_chunks()
    distinct = pc.unique(users)
    [(catalogue,)] = connection.execute(
        f"SELECT count(DISTINCT {ITEM}) FROM events WHERE {TIME} < ?", [window.start]
    ).fetchall()
    return Truth(window, distinct, _code(users, distinct), pairs[ITEM].combine_chunks(), catalogue)


def read_judged(connection: duckdb.DuckDBPyConnection, window: Window, *, allow_repeats: bool) -> Truth:
    """Read the truth of a window in which somebody must be judged; raise DataError where nobody can be."""
    truth = read_truth(connection, window, allow_repeats=allow_repeats)
    if len(truth.users):
        return truth
    raise DataError(
        f"the window [{window.start:%Y-%m-%d %H:%M:%S}, {window.end:%Y-%m-%d %H:%M:%S}) UTC",
        expected="at least one user with an event before it and a relevant item in it",
        got="none",
        fix="Move the cuts under `split` in rankhouse.yaml.",
    )


def read_validation(workspace: Workspace, connection: duckdb.DuckDBPyConnection, users: pa.ChunkedArray) -> Truth:
    """Read the truth of the validation window; where stage one was asked for some users only, theirs (`users`)."""
    truth = read_judged(connection, workspace.periods.validation, allow_repeats=workspace.allow_repeats)
    return truth if workspace.config.candidates.users_per_cut is None else truth.among(pc.unique(users))


def _code(ids: pa.Array, vocabulary: pa.Array) -> np.ndarray:
    return encode(ids, vocabulary).astype(np.int64)
