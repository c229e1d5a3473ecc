"""Reading the rows of many users: each user's in one piece, which the database joins."""

from __future__ import annotations

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
"""A user's rows are read together where they are at most so many times as large as those that a request asks for."""
_LEAST: Final = 1 << 20
"""So many bytes are read together however few are asked for."""
_NOWHERE: Final = -(1 << 62)


def read_runs(snapshot: Snapshot, table: ViewTable, view: PackedView, asked: Asked, now: int) -> ViewRows | None:
    """Read the rows of several users, each user's in one piece; they are not kept.

    None where a user has far more than are asked for, and where records differ in their length or schema.
    """
    layout = view.layout
    if layout.slots:
        return None
    width, records, before = layout.dtype.itemsize, [], 0
    index = np.empty(asked.runs[-1].rows.stop, np.int64)
    for run in asked.runs:
        found = snapshot.joined(table, run.head, max(_MOST * len(run.last) * width, _LEAST))
        cut = None if found is None else found.cut(table.keys, run.head, width)
        if cut is None:
            return None
        index[run.rows] = _places_in(run.last, cut[0]) + before
        records.append(cut[1])
        before += len(cut[1])
    index[index < 0] = before
    blank = np.frombuffer(layout.blank, f"V{width}")
    rows = Rows.of_one_width(layout, np.concatenate([*records, blank]).view(layout.dtype))
    if (rows.raw["schema"] != layout.id).any():
        return None
    return ViewRows(rows, index, expire(rows, view.ttl, now))


def _places_in(wanted: pa.Array, parts: pa.Array) -> np.ndarray:
    """Return where each key stands among distinct ones, integers ascending; `_NOWHERE` for one that does not."""
    if len(parts) and parts.type == pa.int64() and not wanted.null_count:
        keys, numbers = parts.to_numpy(), wanted.to_numpy()
        places = np.minimum(np.searchsorted(keys, numbers), len(keys) - 1)
        return np.where(keys[places] == numbers, places, _NOWHERE)
    return pc.index_in(wanted, parts).cast(pa.int64()).fill_null(_NOWHERE).to_numpy(zero_copy_only=False)
