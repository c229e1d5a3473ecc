"""Reading the rows of many users: each user's in one piece, which the database joins."""

from __future__ import annotations

from itertools import accumulate
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.stores.packed_db import Snapshot, ViewTable
from feature_repo.stores.packed_found import ViewRows, expire
from feature_repo.stores.packed_keys import Asked
from feature_repo.stores.packed_rows import Rows
from feature_repo.stores.packed_view import PackedView

_MOST: Final = 4
"""A user's rows are read together where there are at most so many times as many as a request asks for."""
_NOWHERE: Final = -(1 << 62)


def read_runs(snapshot: Snapshot, table: ViewTable, view: PackedView, asked: Asked, now: int) -> ViewRows | None:
    """Read the rows of several users, each user's in one piece; they are not kept.

    None where a user has far more than are asked for, and where records differ in their length or schema.
    """
    layout = view.layout
    if layout.slots:
        return None
    found = []
    for run in asked.runs:
        piece = snapshot.joined(table, run.head, _MOST * len(run.last))
        if piece is None:
            return None
        found.append(piece)
    starts = list(accumulate((piece.rows for piece in found), initial=0))
    records = b"".join([*(piece.records for piece in found), layout.blank])
    if len(records) != (starts[-1] + 1) * layout.dtype.itemsize:
        return None
    rows = Rows(layout, [records])
    if (rows.raw["schema"] != layout.id).any():
        return None
    lengths = np.concatenate([piece.lengths for piece in found])
    parts = table.keys.split(b"".join(piece.parts for piece in found), lengths)
    index = np.empty(asked.runs[-1].rows.stop, np.int64)
    for run, piece, start in zip(asked.runs, found, starts, strict=False):
        index[run.rows] = _places_in(run.last, parts.slice(start, piece.rows)) + start
    index[index < 0] = starts[-1]
    return ViewRows(rows, index, expire(rows, view.ttl, now))


def _places_in(wanted: pa.Array, parts: pa.Array) -> np.ndarray:
    """Return where each key stands among distinct ones, `_NOWHERE` for one that does not."""
    if len(parts) and parts.type == pa.int64() and not wanted.null_count:
        keys, numbers = parts.to_numpy(), wanted.to_numpy()
        # A statement promises no order without asking for one, though a range of keys is read in theirs.
        if (keys[1:] > keys[:-1]).all():
            places = np.minimum(np.searchsorted(keys, numbers), len(keys) - 1)
            return np.where(keys[places] == numbers, places, _NOWHERE)
    return pc.index_in(wanted, parts).cast(pa.int64()).fill_null(_NOWHERE).to_numpy(zero_copy_only=False)
