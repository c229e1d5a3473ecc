"""One row per user and per item, or one per key and time where the source keeps versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_repo.columns import ITEM, TIME, USER
from feature_repo.errors import DataError
from feature_repo.loading.dataset import Dataset
from feature_repo.loading.staging import staged

if TYPE_CHECKING:
    import duckdb

_KEYS = {"users": USER, "items": ITEM}


def settle_duplicates(connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> None:
    """Collapse equal rows; raise DataError for an id with different contents, unless the table keeps one of them."""
    for name, key in _KEYS.items():
        table = dataset.tables.get(name)
        if table is None:
            continue
        identity = [key, *(column for column in table.names() if column == TIME)]
        rest = [column for column in table.names() if column not in identity]
        by = ", ".join(identity)
        chosen = f"QUALIFY row_number() OVER (PARTITION BY {by} ORDER BY {', '.join(rest)}) = 1" if rest else ""
        columns = ", ".join(table.names())
        distinct = f"SELECT DISTINCT {columns} FROM {staged(name)}"
        if not table.keep_one:
            files = ", ".join(scan.where for scan in table.scans)
            _raise_conflict(connection, distinct, files, identity, rest)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {staged(name)} AS SELECT {columns} FROM ({distinct}) {chosen}"
        )


def _raise_conflict(
    connection: duckdb.DuckDBPyConnection, distinct: str, files: str, identity: list[str], rest: list[str]
) -> None:
    by = ", ".join(identity)
    contents = ", ".join(f"list({column}::VARCHAR ORDER BY {', '.join(rest)})" for column in rest)
    found = connection.execute(
        f"SELECT {identity[0]}, count(*) OVER () AS conflicts{', ' + contents if contents else ''} FROM ({distinct}) "
        f"GROUP BY {by} HAVING count(*) > 1 ORDER BY {identity[0]} LIMIT 1"
    ).fetchone()
    if found is None:
        return
    key, conflicts, *values = found
    column, first, second = next(
        (name, both[0], both[1]) for name, both in zip(rest, values, strict=True) if both[0] != both[1]
    )
    others = f" (and {conflicts - 1:,} more ids)" if conflicts > 1 else ""
    raise DataError(
        f"{files}, {identity[0]} {key}",
        expected="one row per id",
        got=f"rows that differ: {column} {first!r} and {second!r}{others}",
        fix="Leave one of them out; in a mapping, `on_duplicate: keep_one` does that.",
    )
