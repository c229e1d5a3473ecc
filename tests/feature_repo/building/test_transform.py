"""The contract between a view's SQL and its Feast schema."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.building.moments import RARE, own_snapshots, register_snapshots
from feature_repo.building.shares import Share
from feature_repo.building.snapshots import to_us, workspace_calendar
from feature_repo.building.sql_types import sql_type
from feature_repo.building.transform import RESULT, ViewTransform
from feature_repo.building.view_sql import ViewSql
from feature_repo.data_set import DataSet
from feature_repo.discovery import discover, sql_path
from feature_repo.errors import ContractError
from feature_repo.workspace import Workspace

TIMES = pa.timestamp("us", tz="UTC")


@pytest.fixture
def compute(small_workspace):
    """Run SQL as a view keyed by user with the features `n` (INTEGER) and `x` (FLOAT); return its rows."""

    def run(sql: str, pushed: Sequence[Path] = ()) -> list[tuple]:
        workspace: Workspace = small_workspace(30)
        keys, features = {"user_id": "BIGINT"}, {"n": "INTEGER", "x": "FLOAT"}
        transform = ViewTransform("v", ViewSql(Path("views/v.sql"), sql), keys, features)
        with workspace.connect() as connection:
            transform.compute(connection, DataSet.of(workspace), workspace_calendar(workspace), pushed=pushed)
            return connection.sql(f"FROM {RESULT}").fetchall()

    return run


def test_whole_numbers_and_real_ones_are_cast(compute) -> None:
    rows = compute(
        "SELECT user_id, min(event_timestamp) AS event_timestamp, sum(1) AS n, 'NaN'::DOUBLE AS x "
        "FROM changes GROUP BY user_id"
    )
    assert rows
    assert all(isinstance(row[2], int) and row[3] is None for row in rows)


def test_rows_that_change_nothing_are_left_out(compute) -> None:
    rows = compute("SELECT DISTINCT user_id, event_timestamp, 1 AS n, CAST(0.5 AS FLOAT) AS x FROM changes")
    assert len(rows) == len({row[0] for row in rows}) == 8


def test_a_row_after_a_pushed_one_is_a_row_of_change(compute, tmp_path: Path) -> None:
    """What was pushed may say something else than the rows before and after it: then the latter must be there."""
    sql = "SELECT DISTINCT user_id, event_timestamp, 1 AS n, CAST(0.5 AS FLOAT) AS x FROM changes"
    every = sql.replace("1 AS n", "CAST(epoch(event_timestamp) AS BIGINT) AS n")
    times = sorted(row[1] for row in compute(every) if row[0] == 3)
    stamps = [times[0], times[1] + timedelta(microseconds=1), times[-1] + timedelta(days=9)]
    rows = {"user_id": [3] * 4, "event_timestamp": pa.array([*stamps, stamps[1]], pa.timestamp("us", tz="UTC"))}
    pq.write_table(pa.table(rows), tmp_path / "pushed.parquet")
    found = compute(sql, [tmp_path / "pushed.parquet"])
    assert len(found) == 8 + 1
    assert sorted(row[1] for row in found if row[0] == 3) == [times[0], times[2]]


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ("1 AS m, 0.5 AS x", r"n is missing.*m is not declared"),
        (
            "1 AS n, 0.5 AS x, 2 AS user_ids",
            r'user_ids is not declared Did you mean "user_id"|user_ids is not declared',
        ),
        ("0.5 AS n, 0.5 AS x", r"n is decimal\(2,1\), declared as integer"),
        ("1 AS n, 'a' AS x", "x is varchar, declared as float"),
        ("1 AS n, [0.5] AS x", r"x is decimal\(2,1\)\[\], declared as float"),
    ],
)
def test_a_difference_to_the_schema_is_named(compute, columns: str, fault: str) -> None:
    with pytest.raises(ContractError, match=fault) as caught:
        compute(f"SELECT user_id, event_timestamp, {columns} FROM changes")
    assert "views/v.sql" in str(caught.value)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT user_id, event_timestamp, CAST(row_number() OVER () AS INTEGER) AS n, 0.5 AS x FROM changes",
        "SELECT NULL::BIGINT AS user_id, event_timestamp, 1 AS n, 0.5 AS x FROM changes",
    ],
)
def test_one_row_per_key_and_time(compute, sql: str) -> None:
    with pytest.raises(ContractError, match="one row per"):
        compute(sql)


def test_only_views_may_come_before_the_query(compute) -> None:
    with pytest.raises(ContractError, match="CREATE TEMP VIEW"):
        compute("CREATE TABLE t AS SELECT 1; SELECT 1")


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT user_id, event_timestamp, 1 AS n, nope AS x FROM changes", "nope"),
        ("SELECT user_id, event_timestamp, 3000000000 AS n, 0.5 AS x FROM changes", "INT32"),
        ("SELECT 1 FROM data", "data"),
        ("SELEC 1", "SELEC"),
    ],
)
def test_sql_that_fails_names_its_file(compute, sql: str, said: str) -> None:
    with pytest.raises(ContractError, match=said) as caught:
        compute(sql)
    assert "views/v.sql" in str(caught.value)


def test_windows_and_tables_are_read_from_the_code_not_the_comments() -> None:
    sql = ViewSql(Path("v.sql"), "-- in_365d of users\nSELECT in_7d, leaving_14d, ';' /* items */ FROM changes")
    assert sql.windows == (7, 14)
    assert sql.on_calendar
    assert not sql.reads("users", "items")


def test_no_shipped_view_is_taken_to_read_a_table_for_a_name_of_its_own() -> None:
    found = [ViewSql.read(path) for path in sorted(sql_path("user_activity").parent.glob("*.sql"))]
    readers = {table: {sql.path.stem for sql in found if sql.reads(table)} for table in ("users", "items")}
    assert readers == {"users": set(), "items": {"item_attributes", "user_category_affinity", "user_segments"}}


def test_types() -> None:
    assert sql_type("Array(UnixTimestamp)") == "TIMESTAMP WITH TIME ZONE[]"
    with pytest.raises(ContractError, match="Map"):
        sql_type("Map")


def test_changes_are_the_same_whatever_the_calendar_starts_with(small_workspace) -> None:
    """The value at a snapshot does not depend on which snapshots came before it."""
    workspace = small_workspace(31)
    snapshots = workspace_calendar(workspace)
    sql = "SELECT user_id, event_timestamp, sum(sum(in_7d)) OVER (PARTITION BY user_id ORDER BY event_timestamp) AS n, "
    sql += "sum(sum(entering - leaving_30d)) OVER (PARTITION BY user_id ORDER BY event_timestamp) / 2 AS x "
    sql += "FROM changes GROUP BY user_id, event_timestamp"
    transform = ViewTransform("v", ViewSql(Path("v.sql"), sql), {"user_id": "BIGINT"}, {"n": "INTEGER", "x": "FLOAT"})
    rng = np.random.default_rng(0)
    values = {}
    for size in (len(snapshots), 5, 5, 2, 1):
        chosen = np.union1d(rng.choice(snapshots, size, replace=False), snapshots[-1:])
        with workspace.connect() as connection:
            transform.compute(connection, DataSet.of(workspace), chosen)
            last = connection.sql(
                f"SELECT user_id, arg_max(row(n, x), event_timestamp) FROM {RESULT} GROUP BY ALL ORDER BY ALL"
            )
            values[str(last.fetchall())] = size
    assert len(values) == 1


@pytest.mark.parametrize("view", ["item_engagement", "user_category_affinity", "user_habits", "user_item"])
def test_parts_of_the_keys_make_the_whole(small_workspace, view: str) -> None:
    workspace = small_workspace(32)
    data = DataSet.of(workspace)
    transform = ViewTransform.of(discover(data).computed_view(view), sql_path(view))
    assert transform.sql.in_parts
    key = next(iter(transform.keys))
    tables = []
    for bounds in ([None, None], [None, 5, 11, None]):
        shares = [Share(key, *ends) for ends in pairwise(bounds)]
        with workspace.connect() as connection:
            transform.compute(connection, data, workspace_calendar(workspace), shares=shares)
            tables.append(connection.sql(f"FROM {RESULT} ORDER BY ALL").to_arrow_table())
    assert tables[0].num_rows > 100
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize(
    ("select", "parts"),
    [
        ("SELECT * FROM changes", True),
        ("CREATE TEMP VIEW log AS FROM own_events; SELECT * FROM changes", True),
        ("CREATE TEMP VIEW log AS FROM events; SELECT * FROM changes", False),
        ("SELECT * FROM weekly_items JOIN events USING (item_id)", False),
    ],
)
def test_only_what_reads_own_events_is_computed_in_parts(select: str, parts: bool) -> None:
    assert ViewSql(Path("v.sql"), select).in_parts is parts


def test_weeks_and_months_begin_with_their_first_snapshot(small_workspace) -> None:
    workspace = small_workspace(33)
    times = [datetime(2024, 1, day, hour, tzinfo=UTC) for day, hour in ((30, 3), (31, 0))]
    times += [datetime(2024, 2, day, hour, tzinfo=UTC) for day, hour in ((1, 5), (2, 0), (5, 0), (5, 7), (13, 0))]
    snapshots = np.array([to_us(time) for time in times])
    with workspace.connect() as connection:
        register_snapshots(connection, snapshots)
        for name, expected in (("weekly", [0, 4, 6]), ("monthly", [0, 2])):
            rows = connection.execute(f"SELECT event_timestamp FROM {name}_snapshots ORDER BY 1").fetchall()
            assert [time for (time,) in rows] == [times[place] for place in expected]
            users = connection.execute(f"SELECT count(*), count(DISTINCT user_id) FROM {name}_users").fetchall()
            assert users == [(8 * len(expected), 8)]


@pytest.mark.parametrize("relation", RARE)
def test_a_view_of_rare_moments_needs_their_snapshots_alone(small_workspace, small_log, relation: str) -> None:
    tables = small_log(34)
    later = [datetime(2024, 2, day, hour, tzinfo=UTC) for day, hour in ((7, 0), (7, 5), (20, 15), (28, 1))]
    for table in ("users", "items"):
        again = tables[table].slice(0, len(later)).set_column(1, "event_timestamp", pa.array(later, TIMES))
        tables[table] = pa.concat_tables([tables[table], again])
    workspace = small_workspace(34, tables=tables)
    snapshots = workspace_calendar(workspace)
    known = [to_us(time) for time in later]
    own = own_snapshots(snapshots, [relation], lambda table: np.array(known))
    assert len(own) < len(snapshots) / 3
    found = []
    with workspace.connect() as connection:
        for chosen in (snapshots, own):
            register_snapshots(connection, chosen)
            found.append(connection.sql(f"FROM {relation} ORDER BY ALL").to_arrow_table())
    assert found[0].equals(found[1])
    assert found[0]["event_timestamp"].cast("int64").unique().sort().to_numpy().tolist() == own.tolist()
