"""Running totals of steps against DuckDB's windows and a loop over rows."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from feature_repo.building.running import RUNNING, create_running_totals, running_totals
from feature_repo.columns import TIME

TIMES = pa.timestamp("us", tz="UTC")
WINDOWS = f"""
SELECT u, c, {TIME},
    sum(n) OVER history AS n, sum(d) OVER history AS d, sum(wide) OVER history AS wide,
    first_value(first_s IGNORE NULLS) OVER history AS first_s, last_value(last_t IGNORE NULLS) OVER history AS last_t
FROM given
WINDOW history AS (PARTITION BY u, c ORDER BY {TIME} ROWS UNBOUNDED PRECEDING)
ORDER BY u, c, {TIME}"""


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def steps(seed: int, count: int = 500) -> pa.Table:
    """Steps in no order, a third of their values null, with sums beyond 64 bits."""
    random = np.random.default_rng(seed)
    places = random.choice(4 * 3 * 100, count, replace=False)

    def some(values: list) -> list:
        return [None if random.integers(3) == 0 else value for value in values]

    cents = [Decimal(int(value)) / 10000 for value in random.integers(-(10**12), 10**12, count)]
    wide = [Decimal(int(value)) * 10**16 for value in random.integers(-(10**12), 10**12, count)]
    return pa.table(
        {
            "u": pa.array([("b", "", "ä", "a")[place % 4] for place in places]),
            "c": pa.array(places // 4 % 3 - 1),
            TIME: pa.array(places // 12 * 10**9, TIMES),
            "n": pa.array(some(random.integers(-5, 5, count).tolist()), pa.int32()),
            "d": pa.array(some(cents), pa.decimal128(38, 4)),
            "wide": pa.array(some(wide), pa.decimal128(38, 0)),
            "first_s": pa.array(some([f"s{value}" for value in random.integers(0, 9, count)])),
            "last_t": pa.array(some(random.integers(0, 10**9, count).tolist()), TIMES),
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_totals_are_those_of_windows(connection, seed: int) -> None:
    connection.register("given", steps(seed))
    connection.execute("CREATE TEMP VIEW steps AS FROM given")
    create_running_totals(connection)
    assert connection.sql(f"FROM {RUNNING}").fetchall() == connection.sql(WINDOWS).fetchall()


def test_sums_of_another_key_do_not_matter(connection) -> None:
    """However large what is added before: the sums of a range of keys are those of all keys."""
    table = steps(9).sort_by([("u", "ascending"), ("c", "ascending"), (TIME, "ascending")])
    wholes = table.set_column(3, "n", table["n"].cast(pa.int64()))
    rows = running_totals(wholes, ["u", "c"])
    first = rows["u"].to_pylist().index("b")
    assert running_totals(wholes.slice(first), ["u", "c"]).equals(rows.slice(first))


def test_hugeint_sums_come_back_as_integers(connection) -> None:
    connection.execute(
        f"CREATE TEMP VIEW steps AS SELECT 1 AS u, TIMESTAMPTZ 'epoch' AS {TIME}, CAST(7 AS HUGEINT) AS n"
    )
    create_running_totals(connection)
    assert connection.sql(f"SELECT n, typeof(n) FROM {RUNNING}").fetchall() == [(7, "BIGINT")]


def test_no_rows_have_no_totals(connection) -> None:
    connection.register("given", steps(1).slice(0, 0))
    connection.execute("CREATE TEMP VIEW steps AS FROM given")
    create_running_totals(connection)
    assert connection.sql(f"FROM {RUNNING}").fetchall() == []


@pytest.mark.parametrize("value", ["0.1::DOUBLE", "true", "'a'"])
def test_what_has_no_exact_sum_is_refused(connection, value: str) -> None:
    connection.execute(f"CREATE TEMP VIEW steps AS SELECT 1 AS u, TIMESTAMPTZ 'epoch' AS {TIME}, {value} AS n")
    with pytest.raises(ValueError, match=r"steps\.n is .*: whole numbers and DECIMAL have exact sums"):
        create_running_totals(connection)
