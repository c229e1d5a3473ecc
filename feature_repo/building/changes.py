"""The prepared relations that a view's SQL sees beside the lake's own tables (described in feature_repo.views)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from feature_repo.building.snapshots import from_us
from feature_repo.columns import ITEM, TIME, USER

if TYPE_CHECKING:
    import duckdb
    import numpy as np

LOG: Final = "log"
_SQL_TYPES: Final = {"number": "DOUBLE", "category": "VARCHAR"}


def register_snapshots(connection: duckdb.DuckDBPyConnection, snapshots: np.ndarray) -> None:
    """Create the table `snapshots(event_timestamp)` from int64 microseconds."""
    listed = pa.table({TIME: pa.array(snapshots, pa.timestamp("us", tz="UTC"))})
    connection.register("listed_snapshots", listed)
    connection.execute("CREATE OR REPLACE TEMP TABLE snapshots AS SELECT * FROM listed_snapshots")
    connection.unregister("listed_snapshots")


def create_changes(connection: duckdb.DuckDBPyConnection, windows: Sequence[int], start: int) -> None:
    """Create the view `changes` of the relation `log` for windows in days.

    `start` is the first snapshot: what happened before it is stamped with it, one row per event, so that an increment
    costs one pass over the log and not one row per event and window.
    """
    connection.execute(changes_sql(windows, start))


def changes_sql(windows: Sequence[int], start: int) -> str:
    begin = f"TIMESTAMPTZ '{from_us(start).isoformat(sep=' ')}'"
    # Parquet and the log are read once per branch; the bound on each branch lets DuckDB skip what cannot match.
    left = "".join(f", CAST({TIME} < {begin} - INTERVAL {days} DAY AS INTEGER) AS leaving_{days}d" for days in windows)
    leaving = "".join(f", CAST(lag_days = {days} AS INTEGER) AS leaving_{days}d" for days in windows)
    net = "".join(f", entering - leaving_{days}d AS in_{days}d" for days in windows)
    lags = ", ".join(f"({days})" for days in (0, *windows))
    oldest = f"{begin} - INTERVAL {max(windows, default=0)} DAY"
    return f"""
    CREATE OR REPLACE TEMP VIEW changes AS
    SELECT *{net}, entering AS in_all FROM (
        SELECT * EXCLUDE ({TIME}), {TIME} AS occurred_at, {begin} AS {TIME}, 1 AS entering{left}
        FROM {LOG} WHERE {TIME} < {begin}
        UNION ALL BY NAME
        SELECT moved.* EXCLUDE (lag_days, moment), snapshots.{TIME}, CAST(lag_days = 0 AS INTEGER) AS entering{leaving}
        FROM (
            SELECT {LOG}.* EXCLUDE ({TIME}), {TIME} AS occurred_at, lag_days, {TIME} + to_days(lag_days) AS moment
            FROM {LOG}, (VALUES {lags}) AS lags(lag_days) WHERE {TIME} >= {oldest}
        ) AS moved
        ASOF JOIN snapshots ON snapshots.{TIME} > moved.moment
        WHERE moved.moment >= {begin}
    )"""


def create_attributes(
    connection: duckdb.DuckDBPyConnection, user_attributes: Mapping[str, str], item_attributes: Mapping[str, str]
) -> None:
    """Create the views `user_attributes` and `item_attributes`: numbers as DOUBLE, categories as VARCHAR."""
    for table, key, prefix, attributes in (
        ("users", USER, "user", user_attributes),
        ("items", ITEM, "item", item_attributes),
    ):
        columns = "".join(
            f', CAST("{name}" AS {_SQL_TYPES[kind]}) AS "{prefix}_{name}"'
            for name, kind in attributes.items()
            if kind in _SQL_TYPES
        )
        connection.execute(f"CREATE TEMP VIEW {prefix}_attributes AS SELECT {key}, {TIME}{columns} FROM {table}")
