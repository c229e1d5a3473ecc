"""The prepared relations that a view's SQL sees beside the lake's own tables (described in feature_repo.views)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from feature_repo.building.snapshots import DAY, EPOCH, to_us
from feature_repo.columns import ITEM, TIME, USER
from feature_repo.lake import quote

if TYPE_CHECKING:
    import duckdb

LOG: Final = "log"
_EARLIEST: Final = to_us(datetime(1000, 1, 1, tzinfo=UTC))
_SQL_TYPES: Final = {"number": "DOUBLE", "category": "VARCHAR"}


def own_events_sql(
    connection: duckdb.DuckDBPyConnection,
    keys: Sequence[str],
    windows: Sequence[int],
    snapshots: np.ndarray,
    bases: np.ndarray,
    moved: np.ndarray | None = None,
) -> str:
    """Return the query of `own_events`: with `bases`, the events of the keys that change at one of the others."""
    if not len(bases) or not set(keys) <= {USER, ITEM}:
        return "SELECT * FROM events"
    _create_touched(connection, "events", keys, changed_ranges(windows, snapshots, bases, moved))
    return f"SELECT * FROM events SEMI JOIN touched USING ({', '.join(keys)})"


def create_changes(
    connection: duckdb.DuckDBPyConnection,
    keys: Sequence[str],
    windows: Sequence[int],
    snapshots: np.ndarray,
    bases: np.ndarray,
    *,
    own: bool,
) -> None:
    """Create the view `changes` of the relation `log` for windows in days.

    With `bases` (the snapshots whose rows are known already) it holds only keys that change at one of the others, and
    of an event that leaves windows at the snapshot at which it first shows a single row: an increment, with few
    snapshots far apart, costs not much more than one row per event. `own`: the log has no other keys anyway.
    """
    first = _register_spans(connection, snapshots)
    if not len(bases):
        connection.execute(changes_sql(windows, first))
        return
    kept = LOG
    if not own:
        _create_touched(connection, LOG, keys, changed_ranges(windows, snapshots, bases))
        kept = f"(SELECT * FROM {LOG} SEMI JOIN touched USING ({', '.join(keys)}))"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE shown_log AS {shown_sql(kept, first)}")
    connection.execute(net_changes_sql(windows))


def changed_ranges(
    windows: Sequence[int], snapshots: np.ndarray, bases: np.ndarray, moved: np.ndarray | None = None
) -> list[tuple[int, int]]:
    """Return the half-open ranges of event times that enter or leave a window at a snapshot that is no base.

    Of one that takes another's place, those between the two.
    """
    steps = np.stack([np.concatenate([[np.iinfo(np.int64).min // 2], snapshots[:-1]]), snapshots], axis=1)
    steps = steps[~np.isin(snapshots, bases)]
    if moved is not None:
        steps = np.concatenate([steps[~np.isin(steps[:, 1], moved[:, 1])], np.sort(moved[moved[:, 0] != moved[:, 1]])])
    shifted = np.concatenate([steps - days * DAY for days in (0, *windows)])
    ranges: list[tuple[int, int]] = []
    for low, high in shifted[np.argsort(shifted[:, 0], kind="stable")].tolist():
        if ranges and low <= ranges[-1][1]:
            ranges[-1] = ranges[-1][0], max(high, ranges[-1][1])
        else:
            ranges.append((low, high))
    return ranges


def _create_touched(
    connection: duckdb.DuckDBPyConnection, relation: str, keys: Sequence[str], ranges: list[tuple[int, int]]
) -> None:
    """Create the table `touched` of the keys that a relation has in one of the ranges."""
    # Written out they let a scan skip what lies outside; -infinity is what a range begins with that has no start.
    inside = " OR ".join(f"({TIME} >= {_literal(low)} AND {TIME} < {_literal(high)})" for low, high in ranges)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE touched AS SELECT DISTINCT {', '.join(keys)} FROM {relation} WHERE {inside}"
    )


def touch_pushed(connection: duckdb.DuckDBPyConnection, pushed: str, keys: Sequence[str], moved: np.ndarray) -> None:
    """Add to `touched` the keys of pushed rows, a query, between a snapshot and the one that takes its place."""
    ranges = np.sort(moved).tolist()
    between = " OR ".join(f"{TIME} BETWEEN {_literal(low)} AND {_literal(high)}" for low, high in ranges)
    connection.execute(f"INSERT INTO touched SELECT DISTINCT {', '.join(keys)} FROM ({pushed}) WHERE {between}")


def _literal(microseconds: int) -> str:
    if microseconds < _EARLIEST:
        return "TIMESTAMPTZ '-infinity'"
    return f"TIMESTAMPTZ '{EPOCH + timedelta(microseconds=microseconds):%Y-%m-%d %H:%M:%S.%f}+00'"


def changes_sql(windows: Sequence[int], first: int) -> str:
    """Return the definition of `changes`, a row per event and window; `first` is where `spans` begin."""
    leaving = "".join(f", CAST(lag_days = {days} AS INTEGER) AS leaving_{days}d" for days in windows)
    rows = f"""
        SELECT moved.* EXCLUDE (lag_days, moment), spans.{TIME}, CAST(lag_days = 0 AS INTEGER) AS entering{leaving}
        FROM (
            SELECT {LOG}.* EXCLUDE ({TIME}), {TIME} AS occurred_at, lag_days,
                greatest(epoch_us({TIME}) + lag_days * {DAY}, {first}) AS moment
            FROM {LOG}, {_lags(0, *windows)}
        ) AS moved
        {_JOIN_SPANS}"""
    return _with_net(rows, windows)


def shown_sql(log: str, first: int) -> str:
    """Return the query of a log's events, stamped with the snapshot at which they first show."""
    return f"""
        SELECT moved.* EXCLUDE (moment), spans.{TIME}
        FROM (
            SELECT * EXCLUDE ({TIME}), {TIME} AS occurred_at, greatest(epoch_us({TIME}), {first}) AS moment FROM {log}
        ) AS moved
        {_JOIN_SPANS}"""


def net_changes_sql(windows: Sequence[int]) -> str:
    """Return the definition of `changes` from `shown_log`: a row per event, and one per window that it leaves later."""
    left = "".join(
        f", CAST(epoch_us(occurred_at) + {days * DAY} < epoch_us({TIME}) AS INTEGER) AS leaving_{days}d"
        for days in windows
    )
    rows = f"SELECT *, 1 AS entering{left} FROM shown_log"
    if windows:
        leaving = "".join(f", CAST(lag_days = {days} AS INTEGER) AS leaving_{days}d" for days in windows)
        moment = f"epoch_us(occurred_at) + lag_days * {DAY}"
        rows += f"""
        UNION ALL BY NAME
        SELECT moved.* EXCLUDE (lag_days, moment), spans.{TIME}, 0 AS entering{leaving}
        FROM (
            SELECT shown_log.* EXCLUDE ({TIME}), lag_days, {moment} AS moment
            FROM shown_log, {_lags(*windows)}
            WHERE {moment} >= epoch_us({TIME})
        ) AS moved
        {_JOIN_SPANS}"""
    return _with_net(rows, windows)


_JOIN_SPANS: Final = (
    f"JOIN spans ON spans.day = moved.moment // {DAY} AND moved.moment >= spans.low AND moved.moment < spans.high"
)


def _lags(*days: int) -> str:
    return f"(VALUES {', '.join(f'({lag})' for lag in days)}) AS lags(lag_days)"


def _with_net(rows: str, windows: Sequence[int]) -> str:
    net = "".join(f", entering - leaving_{days}d AS in_{days}d" for days in windows)
    return f"CREATE OR REPLACE TEMP VIEW changes AS SELECT *{net}, entering AS in_all FROM ({rows})"


def _register_spans(connection: duckdb.DuckDBPyConnection, snapshots: np.ndarray) -> int:
    """Create the table `spans`: at which snapshot the events of [low, high) first show; a span lies within one day.

    A join by the day takes a fraction of the time of an as-of join. All that comes before the first snapshot belongs to
    the microsecond before it, which is returned.
    """
    first, last = int(snapshots[0]) - 1, int(snapshots[-1])
    midnights = np.arange(first // DAY + 1, last // DAY + 1, dtype=np.int64) * DAY
    edges = np.unique(np.concatenate([[first], snapshots, midnights]))
    low, high = edges[:-1], edges[1:]
    shown = snapshots[np.searchsorted(snapshots, low, side="right")]
    spans = pa.table({"day": low // DAY, "low": low, "high": high, TIME: pa.array(shown, pa.timestamp("us", tz="UTC"))})
    connection.register("listed_spans", spans)
    connection.execute("CREATE OR REPLACE TEMP TABLE spans AS SELECT * FROM listed_spans")
    connection.unregister("listed_spans")
    return first


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
