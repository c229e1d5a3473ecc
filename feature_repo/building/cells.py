"""Spans of time in which it makes no difference when an event happened: `cell` of a view's `own_events`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_repo.building.snapshots import DAY
from feature_repo.columns import TIME

if TYPE_CHECKING:
    import duckdb


def with_cells_sql(
    connection: duckdb.DuckDBPyConnection, events: str, windows: Sequence[int], snapshots: np.ndarray
) -> str:
    """Return the query of some events with their `cell`, an integer that grows with time.

    The events of a cell enter at the same snapshot and leave each window, in days, at the same one. Creates the table
    `cells`: a cell's part of one day, as in `spans`.
    """
    edges = cell_edges(windows, snapshots)
    first, last = int(edges[0]) - 1, int(edges[-1])
    midnights = np.arange(first // DAY + 1, last // DAY + 1, dtype=np.int64) * DAY
    low = np.unique(np.concatenate([[first], edges, midnights]))
    high = np.append(low[1:], last + 1)
    number = np.searchsorted(edges, low, side="right").astype(np.int32)
    connection.register(
        "listed_cells", pa.table({"cell_day": low // DAY, "cell_low": low, "cell_high": high, "cell": number})
    )
    connection.execute("CREATE OR REPLACE TEMP TABLE cells AS SELECT * FROM listed_cells")
    connection.unregister("listed_cells")
    return f"""
        SELECT placed.* EXCLUDE (cell_moment), cells.cell
        FROM (
            SELECT *, least(greatest(epoch_us({TIME}), {first}), {last}) AS cell_moment FROM ({events})
        ) AS placed
        JOIN cells ON cells.cell_day = placed.cell_moment // {DAY}
            AND placed.cell_moment >= cells.cell_low AND placed.cell_moment < cells.cell_high"""


def cell_edges(windows: Sequence[int], snapshots: np.ndarray) -> np.ndarray:
    """Return the times, ascending, at which cells begin that are not the first: of an event at one of them a snapshot
    sees something else than of an event just before it.
    """
    return np.unique(np.concatenate([snapshots - days * DAY for days in (0, *windows)]))
