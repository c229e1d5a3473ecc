"""Reading the rows of many users: each user's in one piece, which the database joins."""

from __future__ import annotations

from typing import Final

import numpy as np

from feature_repo.stores.packed_db import Snapshot, ViewTable
from feature_repo.stores.packed_found import ViewRows, expire
from feature_repo.stores.packed_joined import placed
from feature_repo.stores.packed_keys import Asked
from feature_repo.stores.packed_rows import Rows
from feature_repo.stores.packed_view import PackedView

_MOST: Final = 4
"""A user's rows are read together where they are at most so many times as large as those that a request asks for."""
_LEAST: Final = 1 << 20
"""So many bytes are read together however few are asked for."""


def read_runs(snapshot: Snapshot, table: ViewTable, view: PackedView, asked: Asked, now: int) -> ViewRows | None:
    """Read the rows of several users, each user's in one piece; they are not kept.

    None where a user has far more than are asked for, and where records differ in their length or schema.
    """
    layout = view.layout
    if layout.slots:
        return None
    width, found = layout.dtype.itemsize, []
    for run in asked.runs:
        joined = snapshot.joined(table, run.head, max(_MOST * len(run.last) * width, _LEAST))
        if joined is None:
            return None
        found.append(joined)
    both = placed(found, asked.runs, table.keys, width)
    if both is None:
        return None
    index, records = both
    blank = np.frombuffer(layout.blank, f"V{width}")
    rows = Rows.of_one_width(layout, np.concatenate([records, blank]).view(layout.dtype))
    if (rows.raw["schema"] != layout.id).any():
        return None
    index[index < 0] = len(records)
    return ViewRows(rows, index, expire(rows, view.ttl, now))
