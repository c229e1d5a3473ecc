"""When views that are computed by the week or month have rows, and which of those times a build asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

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
    listed = pa.table({TIME: pa.array(snapshots, pa.timestamp("us", tz="UTC"))})
    connection.register("listed_snapshots", listed)
    connection.execute("CREATE OR REPLACE TEMP TABLE snapshots AS SELECT * FROM listed_snapshots")
    connection.unregister("listed_snapshots")
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


def any_moment(connection: duckdb.DuckDBPyConnection, relations: list[str], bases: np.ndarray) -> bool:
    """Tell whether one of the relations has a row at a snapshot that is no base."""
    listed = pa.table({TIME: pa.array(bases, pa.timestamp("us", tz="UTC"))})
    connection.register("listed_bases", listed)
    found = any(
        connection.execute(f"SELECT 1 FROM {name} ANTI JOIN listed_bases USING ({TIME}) LIMIT 1").fetchall()
        for name in relations
    )
    connection.unregister("listed_bases")
    return found
