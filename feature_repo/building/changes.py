"""The prepared relations that a view's SQL sees beside the lake's own tables (described in feature_repo.views)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from feature_repo.columns import ITEM, TIME, USER
from feature_repo.lake import quote

if TYPE_CHECKING:
    import duckdb

LOG: Final = "log"
DAY: Final = 86_400_000_000
_SQL_TYPES: Final = {"number": "DOUBLE", "category": "VARCHAR"}


def register_snapshots(connection: duckdb.DuckDBPyConnection, snapshots: np.ndarray) -> None:
    """Create the table `snapshots(event_timestamp)` from int64 microseconds."""
    listed = pa.table({TIME: pa.array(snapshots, pa.timestamp("us", tz="UTC"))})
    connection.register("listed_snapshots", listed)
    connection.execute("CREATE OR REPLACE TEMP TABLE snapshots AS SELECT * FROM listed_snapshots")
    connection.unregister("listed_snapshots")


def create_changes(
    connection: duckdb.DuckDBPyConnection,
    keys: Sequence[str],
    windows: Sequence[int],
    snapshots: np.ndarray,
    bases: np.ndarray,
) -> None:
    """Create the view `changes` of the relation `log` for windows in days.

    With `bases` (the snapshots whose rows are known already) it holds only keys that change at one of the others, and
    what happened before the first base is stamped with that, one row per event: an increment costs one pass over the
    log and not one row per event and window.
    """
    source, start = LOG, None
    if len(bases):
        source = _touched_log(connection, keys, changed_ranges(windows, snapshots, bases))
        start = int(snapshots[0]) if snapshots[0] == bases[0] else None
    connection.execute(changes_sql(source, windows, start))


def changed_ranges(windows: Sequence[int], snapshots: np.ndarray, bases: np.ndarray) -> list[tuple[int, int]]:
    """Return the half-open ranges of event times that enter or leave a window at a snapshot that is no base."""
    is_base = np.isin(snapshots, bases)
    before = np.concatenate([[np.iinfo(np.int64).min // 2], snapshots[:-1]])
    steps = np.stack([before[~is_base], snapshots[~is_base]], axis=1)
    shifted = np.concatenate([steps - days * DAY for days in (0, *windows)])
    ranges: list[tuple[int, int]] = []
    for low, high in shifted[np.argsort(shifted[:, 0], kind="stable")].tolist():
        if ranges and low <= ranges[-1][1]:
            ranges[-1] = ranges[-1][0], max(high, ranges[-1][1])
        else:
            ranges.append((low, high))
    return ranges


def _touched_log(connection: duckdb.DuckDBPyConnection, keys: Sequence[str], ranges: list[tuple[int, int]]) -> str:
    """Keep the log of the keys that have an event in one of the ranges; return the name of that table."""
    listed = pa.table({"low": [low for low, _ in ranges], "high": [high for _, high in ranges]})
    names = ", ".join(keys)
    connection.register("changed_ranges", listed)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE touched AS SELECT DISTINCT {names} FROM {LOG}, changed_ranges "
        f"WHERE epoch_us({TIME}) >= low AND epoch_us({TIME}) < high"
    )
    connection.unregister("changed_ranges")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE touched_log AS FROM {LOG} SEMI JOIN touched USING ({names})")
    return "touched_log"


def changes_sql(log: str, windows: Sequence[int], start: int | None) -> str:
    """Return the definition of `changes`; `start`: the base that stands for all that happened before it, if any."""
    leaving = "".join(f", CAST(lag_days = {days} AS INTEGER) AS leaving_{days}d" for days in windows)
    net = "".join(f", entering - leaving_{days}d AS in_{days}d" for days in windows)
    lags = ", ".join(f"({days})" for days in (0, *windows))
    rows = f"""
        SELECT moved.* EXCLUDE (lag_days, moment), snapshots.{TIME}, CAST(lag_days = 0 AS INTEGER) AS entering{leaving}
        FROM (
            SELECT {log}.* EXCLUDE ({TIME}), {TIME} AS occurred_at, lag_days, {TIME} + to_days(lag_days) AS moment
            FROM {log}, (VALUES {lags}) AS lags(lag_days)
        ) AS moved
        ASOF JOIN snapshots ON snapshots.{TIME} > moved.moment"""
    if start is not None:
        begin = f"make_timestamptz({start})"
        left = "".join(
            f", CAST({TIME} < {begin} - INTERVAL {days} DAY AS INTEGER) AS leaving_{days}d" for days in windows
        )
        rows += f"""
        WHERE moved.moment >= {begin}
        UNION ALL BY NAME
        SELECT * EXCLUDE ({TIME}), {TIME} AS occurred_at, {begin} AS {TIME}, 1 AS entering{left}
        FROM {log} WHERE {TIME} < {begin}"""
    return f"CREATE OR REPLACE TEMP VIEW changes AS SELECT *{net}, entering AS in_all FROM ({rows})"


def create_attributes(
    connection: duckdb.DuckDBPyConnection, user_attributes: Mapping[str, str], item_attributes: Mapping[str, str]
) -> None:
    """Create the views `user_attributes` and `item_attributes`: numbers as DOUBLE, categories as VARCHAR.

    And what groups users and items have by their categories: `segments` and `item_groups`.
    """
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
    segments = ", ".join(_group(name, f'"{name}"') for name in _categories(user_attributes))
    connection.execute(
        f"CREATE TEMP VIEW segments AS SELECT {USER}, {TIME}, CAST([{segments}] AS VARCHAR[]) AS segments FROM users"
    )
    groups = ", ".join(_group(name, f'"{name}"') for name in _categories(item_attributes))
    connection.execute(
        f"CREATE TEMP VIEW item_groups AS SELECT {ITEM}, {TIME}, list_concat("
        f"list_transform(coalesce(categories, []), lambda name: {_group('category', 'name')}), "
        f"list_filter(CAST([{groups}] AS VARCHAR[]), lambda name: name IS NOT NULL)) AS item_groups FROM items"
    )


def _categories(attributes: Mapping[str, str]) -> list[str]:
    return [name for name, kind in attributes.items() if kind == "category"]


def _group(attribute: str, value: str) -> str:
    """The SQL of a group's name, null where the value is."""
    return f"{quote(attribute + '=')} || {value}"
