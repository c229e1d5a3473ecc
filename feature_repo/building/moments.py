"""When views that are computed by the week or month have rows."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from feature_repo.building.snapshots import DAY
from feature_repo.columns import ITEM, TIME, USER

if TYPE_CHECKING:
    import duckdb

PERIODS: Final = {"week": "weekly", "month": "monthly"}
KEYS: Final = {"users": USER, "items": ITEM}
STARTS: Final = tuple(f"{often}_snapshots" for often in PERIODS.values())
MOMENTS: Final = {table: tuple(f"{often}_{table}" for often in PERIODS.values()) for table in KEYS}
"""The relations `weekly_users`, ..., by the table whose keys they hold."""

RARE: Final = (*STARTS, *MOMENTS["users"], *MOMENTS["items"])


def register_snapshots(connection: duckdb.DuckDBPyConnection, snapshots: np.ndarray) -> None:
    """Create the table `snapshots(event_timestamp)` from int64 microseconds, and what is taken from it.

    `weekly_snapshots(event_timestamp, week)` and `monthly_snapshots` are the first ones of a week or month.
    `weekly_users(user_id, event_timestamp, week)`, `monthly_items` and the like hold every key at those, and a key at
    the first snapshot that knows a new version of it.
    """
    create_snapshots(connection, snapshots)
    for period, often in PERIODS.items():
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {period}_calendar AS SELECT {TIME}, date_trunc('{period}', {TIME}) AS "
            f"{period}, lag({TIME}) OVER (ORDER BY {TIME}) AS before FROM snapshots"
        )
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {often}_snapshots AS SELECT {TIME}, {period} FROM {period}_calendar "
            f"WHERE before IS NULL OR date_trunc('{period}', before) <> {period}"
        )
        for table, key in KEYS.items():
            every = f"(SELECT DISTINCT {key} FROM {table})"
            connection.execute(
                f"CREATE OR REPLACE TEMP VIEW {often}_{table} AS "
                f"SELECT {key}, {TIME}, {period} FROM {often}_snapshots CROSS JOIN {every} "
                f"UNION SELECT {table}.{key}, calendar.{TIME}, calendar.{period} FROM {table} "
                f"JOIN {period}_calendar AS calendar "
                f"ON {table}.{TIME} <= calendar.{TIME} AND {table}.{TIME} > calendar.before"
            )


def create_snapshots(connection: duckdb.DuckDBPyConnection, snapshots: np.ndarray) -> None:
    """Create the table `snapshots` alone."""
    listed = pa.table({TIME: pa.array(snapshots, pa.timestamp("us", tz="UTC"))})
    connection.register("listed_snapshots", listed)
    connection.execute("CREATE OR REPLACE TEMP TABLE snapshots AS SELECT * FROM listed_snapshots")
    connection.unregister("listed_snapshots")


def own_snapshots(
    snapshots: np.ndarray, relations: Collection[str], versions: Callable[[str], np.ndarray]
) -> np.ndarray:
    """Return those of the snapshots (int64 microseconds, ascending) at which one of the relations of RARE has rows.

    `versions`: the times of all rows of `users` or `items`, by the table's name, in any order. The relations made of
    these snapshots alone are those made of all of them.
    """
    chosen = np.zeros(len(snapshots), bool)
    for period, often in PERIODS.items():
        read = [name for name in relations if name.startswith(often)]
        if read:
            within = _PERIOD_OF[period](snapshots)
            chosen |= np.concatenate([[True], within[1:] != within[:-1]])
        for table in KEYS:
            if f"{often}_{table}" in read:
                place = np.searchsorted(snapshots, versions(table))
                chosen[place[(place > 0) & (place < len(snapshots))]] = True
    return snapshots[chosen]


# Weeks begin on Mondays: 1970-01-01 was a Thursday.
_PERIOD_OF: Final[dict[str, Callable[[np.ndarray], np.ndarray]]] = {
    "week": lambda times: (times // DAY + 3) // 7,
    "month": lambda times: times.astype("datetime64[us]").astype("datetime64[M]"),
}
