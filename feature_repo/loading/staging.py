"""Rows of a source, parsed and checked in one pass, as temporary tables; nothing in the lake has changed yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from feature_repo.errors import DataError, FutureError
from feature_repo.loading.dataset import Dataset, Field, Kind, Scan, SourceTable
from feature_repo.loading.tables import identifier, raise_rejects

if TYPE_CHECKING:
    import duckdb

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = (Kind.EVENT_TIME, Kind.KNOWN_SINCE)
_REQUIRED = (Kind.KEY, Kind.EVENT_TIME, Kind.EVENT_TYPE)


@dataclass(frozen=True)
class Check:
    """A row for which the SQL condition `fails` is true ends the load."""

    column: Field
    fails: str
    expected: str
    fix: str
    error: type[DataError] = DataError


def staged(table: str) -> str:
    """Return the name of the temporary table that holds a lake table's new rows."""
    return f"staged_{table}"


def stage(connection: duckdb.DuckDBPyConnection, dataset: Dataset, now: datetime) -> None:
    """Fill `staged_events` and, where the source has them, `staged_users` and `staged_items`.

    Raises DataError for the first row (in the file's order) that breaks a check, FutureError for a time after `now`.
    """
    for name, table in dataset.tables.items():
        checks = _checks(table, now)
        _fill(connection, name, table, checks)
        raise_rejects(connection)
        _raise_faults(connection, name, table, checks)


def _fill(connection: duckdb.DuckDBPyConnection, name: str, table: SourceTable, checks: list[Check]) -> None:
    columns = ", ".join(f"CAST({_value(column)} AS {_type(column)}) AS {column.name}" for column in table.fields)
    faults = " ".join(f"WHEN {check.fails} THEN {number}" for number, check in enumerate(checks))
    fault = f"CASE {faults} END" if faults else "NULL"
    rows = " UNION ALL ".join(
        f"SELECT {columns}, CAST({fault} AS UTINYINT) AS fault FROM {_raw_rows(table, scan)}" for scan in table.scans
    )
    connection.execute(f"CREATE TEMP TABLE {staged(name)} AS {rows}")


def _value(column: Field) -> str:
    if column.value is not None:
        return column.value
    return _blank_is_null(column) if column.kind is Kind.CATEGORY and column.raw_is_text else column.raw_name


def _blank_is_null(column: Field) -> str:
    return f"NULLIF(trim({column.raw_name}), '')"


def _type(column: Field) -> str:
    """The staged type; an id keeps the type it has in the file until all of them are known."""
    return column.sql_type or column.kind.sql_type


def _raw_rows(table: SourceTable, scan: Scan, extra: str = "") -> str:
    raws = ", ".join(f"{column.raw} AS {column.raw_name}" for column in table.fields)
    keep = f" WHERE {table.keep}" if table.keep else ""
    return f"(SELECT * FROM (SELECT {raws}{extra} FROM {scan.relation}){keep})"


def _checks(table: SourceTable, now: datetime) -> list[Check]:
    return [check for column in table.fields for check in _column_checks(column, now)]


def _column_checks(column: Field, now: datetime) -> list[Check]:
    blank = f"{column.raw_name} IS NULL"
    if column.raw_is_text:
        blank = f"({blank} OR trim(CAST({column.raw_name} AS VARCHAR)) = '')"
    checks = []
    if column.kind in _REQUIRED:
        fix = "Fill it in, leave the row out or, for events, say `on_blank_id: skip` in the mapping."
        checks.append(Check(column, blank, "a value, not null or blank", fix))
    if column.value is not None and column.kind in _EXPECTED:
        unparsed = f"({_value(column)}) IS NULL AND NOT {blank}"
        checks.append(Check(column, unparsed, _EXPECTED.get(column.kind, "a value"), column.hint))
    if column.kind in _TIMES:
        late, early = (f"CAST({_value(column)} AS TIMESTAMPTZ) {sign}" for sign in (">", "<"))
        span = f"a time from 1970 to now ({now:%Y-%m-%d %H:%M:%S} UTC)"
        fix = "Correct the time, its unit or its zone."
        checks.append(Check(column, f"{late} {_literal(now)}", span, fix, FutureError))
        checks.append(Check(column, f"{early} {_literal(_EPOCH)}", span, fix))
    return checks


_EXPECTED = {
    Kind.KEY: "a whole number",
    Kind.EVENT_TIME: "a time",
    Kind.KNOWN_SINCE: "a time",
    Kind.RELEASED: "a time",
    Kind.NUMBER: "a number",
    Kind.EVENT_TYPE: "a declared event type",
}


def _literal(moment: datetime) -> str:
    return f"TIMESTAMPTZ '{moment.isoformat(sep=' ')}'"


def _raise_faults(connection: duckdb.DuckDBPyConnection, name: str, table: SourceTable, checks: list[Check]) -> None:
    rows, fault = connection.execute(f"SELECT count(*), min(fault) FROM {staged(name)}").fetchone()
    files = ", ".join(scan.where for scan in table.scans)
    if fault is not None:
        raise _found(connection, table, checks[fault])
    if rows == 0:
        raise DataError(files, expected=f"rows for the table {name}", got="none", fix="Check the file.")
    connection.execute(f"ALTER TABLE {staged(name)} DROP COLUMN fault")


def _found(connection: duckdb.DuckDBPyConnection, table: SourceTable, check: Check) -> DataError:
    """Read the source again, this time with row numbers, for the first row that fails a check."""
    column = check.column
    for scan in table.scans:
        rows = _raw_rows(table, scan, ", row_number() OVER () AS source_row")
        row = connection.execute(
            f"SELECT source_row, CAST({column.raw_name} AS VARCHAR) FROM {rows} "
            f"WHERE {check.fails} ORDER BY source_row LIMIT 1"
        ).fetchone()
        if row is not None:
            got = "null" if row[1] is None else repr(row[1][:120])
            if column.kind is Kind.EVENT_TYPE and row[1] is not None:
                got = _unknown_types(connection, table, check)
            where = f"{scan.where}, row {row[0]}, column {identifier(column.label or column.name)}"
            return check.error(where, expected=check.expected, got=got, fix=check.fix)
    raise AssertionError("a row failed a check once but not when it was read again")


def _unknown_types(connection: duckdb.DuckDBPyConnection, table: SourceTable, check: Check) -> str:
    """Every event type that nobody declared, with its number of rows."""
    rows = " UNION ALL ".join(f"SELECT * FROM {_raw_rows(table, scan)}" for scan in table.scans)
    raw = check.column.raw_name
    found = connection.execute(
        f"SELECT {raw}, count(*) FROM ({rows}) WHERE {check.fails} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10"
    ).fetchall()
    return ", ".join(f"{name!r} ({count:,} rows)" for name, count in found)
