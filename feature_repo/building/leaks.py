"""The leak test: change everything at and after T, compute again, and find every row visible at T as it was.

A view that looks ahead shows it: by `<=` instead of `<`, by a label window, by a statistic over the whole log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from feature_repo.building.snapshots import to_us, workspace_calendar
from feature_repo.building.transform import RESULT, ViewTransform
from feature_repo.columns import ITEM, TIME, USER, VALUE
from feature_repo.data_set import DataSet
from feature_repo.discovery import discover, sql_path

if TYPE_CHECKING:
    import duckdb

    from feature_repo.workspace import Workspace


@dataclass(frozen=True)
class Leak:
    """Rows of a view that are visible at `moment` and change with what happened at or after it; `columns` differ."""

    view: str
    moment: datetime
    rows: int
    columns: tuple[str, ...]


def check_moments(workspace: Workspace) -> list[datetime]:
    """Return times worth checking: the first training cut, the test cut and the midnight before it."""
    first, test = workspace.periods.train[0].start, workspace.periods.test.start
    return sorted({first, test, test.replace(hour=0, minute=0, second=0, microsecond=0)})


def find_leaks(workspace: Workspace, view: str, moments: Sequence[datetime]) -> list[Leak]:
    """Return what a view's rows at each moment owe to events from then on; an empty list is the wanted answer."""
    data = DataSet.of(workspace)
    transform = ViewTransform.of(discover(data).computed_view(view), sql_path(view))
    snapshots = workspace_calendar(workspace, moments) if transform.sql.on_calendar else np.array([], np.int64)
    found = []
    for moment in moments:
        visible = snapshots[snapshots <= to_us(moment)]
        with workspace.connect() as other:
            perturb(other, moment)
            transform.compute(other, data, visible)
            perturbed = _visible(other, moment).to_arrow_table()
        with workspace.connect() as connection:
            transform.compute(connection, data, visible)
            _visible(connection, moment).create("actual")
            connection.register("perturbed", perturbed)
            leak = _difference(connection, transform, moment)
        found += [leak] if leak is not None else []
    return found


def _visible(connection: duckdb.DuckDBPyConnection, moment: datetime) -> duckdb.DuckDBPyRelation:
    return connection.sql(f"SELECT * FROM {RESULT} WHERE {TIME} <= make_timestamptz({to_us(moment)})")


def _difference(connection: duckdb.DuckDBPyConnection, transform: ViewTransform, moment: datetime) -> Leak | None:
    keys = [*transform.keys, TIME]
    differ = {name: f"a.{name} IS DISTINCT FROM b.{name}" for name in transform.features}
    counts = ", ".join(f"count(*) FILTER ({condition})" for condition in differ.values())
    rows, *by_column = connection.execute(
        f"SELECT count(*), {counts} FROM actual AS a FULL JOIN perturbed AS b "
        f"ON {' AND '.join(f'a.{key} = b.{key}' for key in keys)} "
        f"WHERE a.{TIME} IS NULL OR b.{TIME} IS NULL OR {' OR '.join(differ.values())}"
    ).fetchone()
    if not rows:
        return None
    columns = tuple(name for name, count in zip(differ, by_column, strict=True) if count)
    return Leak(transform.name, moment, rows, columns)


# Of the events from T on a third goes, a third changes its value, a third its item. Then the past happens again, at T
# itself and in the days after. Users and items get new versions that nobody knew at T.
_EVENTS: Final = f"""
CREATE TABLE perturbed_events AS
WITH numbered AS (
    SELECT *, row_number() OVER line AS number, lead({ITEM}) OVER line AS other
    FROM events WINDOW line AS (ORDER BY {TIME}, {USER}, {ITEM}, {VALUE})
)
SELECT * EXCLUDE (number, other) REPLACE (
    CASE WHEN {TIME} >= $at AND number % 3 = 0 THEN coalesce({VALUE}, 0) * 2 + 1 ELSE {VALUE} END AS {VALUE},
    CASE WHEN {TIME} >= $at AND number % 3 = 1 THEN coalesce(other, {ITEM}) ELSE {ITEM} END AS {ITEM})
FROM numbered WHERE {TIME} < $at OR number % 3 < 2
UNION ALL
SELECT * EXCLUDE (number, other) REPLACE (CAST($at AS TIMESTAMPTZ) + to_hours(number % 50) AS {TIME})
FROM numbered WHERE {TIME} < $at AND number % 2 = 0"""


def perturb(connection: duckdb.DuckDBPyConnection, moment: datetime) -> None:
    """Replace `events`, `users` and `items` of a connection by ones that differ only at and after the moment."""
    connection.execute(_EVENTS, {"at": moment})
    connection.execute("CREATE OR REPLACE VIEW events AS SELECT * FROM perturbed_events")
    for table, key in (("users", USER), ("items", ITEM)):
        described = connection.execute(f"DESCRIBE {table}").fetchall()
        shuffled = ", ".join(
            f'lead("{row[0]}") OVER (ORDER BY {key}) AS "{row[0]}"' for row in described if row[0] not in (key, TIME)
        )
        shuffled = f", {shuffled}" if shuffled else ""
        connection.execute(
            f"CREATE TABLE perturbed_{table} AS SELECT * FROM {table} WHERE {TIME} <= $at UNION ALL BY NAME "
            f"SELECT {key}, CAST($at AS TIMESTAMPTZ) + INTERVAL 1 SECOND AS {TIME}{shuffled} FROM {table} "
            f"WHERE {TIME} <= $at",
            {"at": moment},
        )
        connection.execute(f"CREATE OR REPLACE VIEW {table} AS SELECT * FROM perturbed_{table}")
