"""A view's rows on disk: one Parquet file per month, sorted by time, then key, replaced as a whole.

A month's file depends on its rows alone, so days added one by one leave the same bytes as a backfill. `empty.parquet`
is always there: a view without a row yet is still a source that can be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.building.transform import RESULT, ViewTransform
from feature_repo.columns import CREATED, TIME
from feature_repo.lake import parquet

if TYPE_CHECKING:
    import duckdb
    import numpy as np

    from feature_repo.building.plan import Plan

EMPTY: Final = "empty.parquet"
PUSHED: Final = "pushed"
"""Below a view's folder: rows that events pushed online between two builds, as they were served."""
ROW_GROUP: Final = 1 << 17
_ARROW_TYPES: Final = {
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True)
class Replacement:
    """Files written under temporary names, waiting to take the places of old ones."""

    folder: Path
    files: dict[str, str]
    gone: tuple[str, ...]

    def commit(self) -> None:
        for name, temporary in self.files.items():
            os.replace(self.folder / temporary, self.folder / name)
        for name in self.gone:
            (self.folder / name).unlink(missing_ok=True)

    def discard(self) -> None:
        for temporary in self.files.values():
            (self.folder / temporary).unlink(missing_ok=True)


def write_parts(
    connection: duckdb.DuckDBPyConnection,
    transform: ViewTransform,
    folder: Path,
    plan: Plan,
) -> Replacement:
    """Write the rows of `computed` that are stamped with affected snapshots into new files for their months.

    Rows of the old files stay unless they are stamped with a dropped snapshot; those of a moved one, of keys that are
    not in the table `touched`, stay too, under its new stamp. `whole` takes every computed row and keeps no old one.
    """
    whole = plan.whole
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink()
    _register_times(connection, "written", plan.affected)
    _register_times(connection, "dropped", plan.dropped)
    _register_times(connection, "moved", *plan.moved.T)
    fresh = f"(SELECT * FROM {RESULT})" if whole else f"(SELECT * FROM {RESULT} WHERE {TIME} IN (FROM written))"
    old = {path.name for path in folder.glob("*.parquet")} - {EMPTY}
    months = _months(connection, fresh)
    touched = months if whole else months | (old & _months(connection, "dropped"))
    files: dict[str, str] = {}
    for name in sorted(touched):
        kept = None if whole or name not in old else folder / name
        temporary = f".{name}.tmp"
        rows = f"SELECT *, {TIME} AS {CREATED} FROM {fresh} WHERE {_within(name)}"
        if kept is not None:
            rows += "".join(f" UNION ALL BY NAME {old}" for old in _kept(transform, kept, moved=len(plan.moved) > 0))
        if _write_month(connection, transform, folder / temporary, rows):
            files[name] = temporary
    if not (folder / EMPTY).exists() or whole:
        files[EMPTY] = f".{EMPTY}.tmp"
        write_empty(transform.columns, folder / files[EMPTY])
    stale = old - set(files) if whole else (touched & old) - set(files)
    # Rows of another SQL, schema or log are no part of this view.
    stale |= {f"{PUSHED}/{path.name}" for path in pushed_files(folder)} if whole else set()
    return Replacement(folder, files, tuple(sorted(stale)))


def pushed_files(folder: Path) -> list[Path]:
    """Return the files of a view's pushed rows."""
    return sorted((folder / PUSHED).glob("*.parquet"))


def write_empty(columns: Mapping[str, str], path: Path) -> None:
    """Write a Parquet file with the columns (name to SQL type) and no rows."""
    pq.write_table(arrow_schema(columns).empty_table(), path)


def arrow_schema(columns: Mapping[str, str]) -> pa.Schema:
    """Return the Arrow schema of columns given as name to SQL type; every column may be null."""
    return pa.schema([(name, _arrow_type(sql_type)) for name, sql_type in columns.items()])


def _arrow_type(sql_type: str) -> pa.DataType:
    return pa.list_(_arrow_type(sql_type[:-2])) if sql_type.endswith("[]") else _ARROW_TYPES[sql_type]


def _write_month(
    connection: duckdb.DuckDBPyConnection,
    transform: ViewTransform,
    path: Path,
    rows: str,
) -> bool:
    """Write one month's rows, a query; return False, and no file, where there are none."""
    columns = ", ".join(f'"{column}"' for column in transform.columns)
    order = ", ".join([TIME, *(f'"{key}"' for key in transform.keys)])
    schema = arrow_schema(transform.columns)
    reader = connection.sql(f"SELECT {columns} FROM ({rows}) ORDER BY {order}").to_arrow_reader(ROW_GROUP)
    written = 0
    # DuckDB's own writer marks a column as required where it happens to hold no null: bytes would depend on the plan.
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _row_groups(reader):
            writer.write_table(group.cast(schema), row_group_size=ROW_GROUP)
            written += group.num_rows
    if not written:
        path.unlink()
    return written > 0


def _within(name: str) -> str:
    """Return the condition of the month of a file."""
    start = f"TIMESTAMPTZ '{name.removesuffix('.parquet')}-01 00:00:00+00'"
    return f"{TIME} >= {start} AND {TIME} < {start} + INTERVAL 1 MONTH"


def _kept(transform: ViewTransform, path: Path, *, moved: bool) -> Iterator[str]:
    """Yield the queries of an old file's rows that stay."""
    old = parquet([str(path)])
    yield f"SELECT * FROM {old} WHERE {TIME} NOT IN (FROM dropped)"
    if moved:
        keys = ", ".join(f'"{key}"' for key in transform.keys)
        yield (
            f"SELECT old.* REPLACE (moved.stamp AS {TIME}, moved.stamp AS {CREATED}) FROM {old} AS old "
            f"JOIN moved ON moved.{TIME} = old.{TIME} ANTI JOIN touched USING ({keys})"
        )


def _row_groups(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Yield tables of ROW_GROUP rows, the last one shorter, however the batches are cut."""
    held: list[pa.RecordBatch] = []
    for batch in reader:
        held.append(batch)
        while sum(part.num_rows for part in held) >= ROW_GROUP:
            table = pa.Table.from_batches(held)
            yield table.slice(0, ROW_GROUP)
            held = table.slice(ROW_GROUP).to_batches()
    if held:
        yield pa.Table.from_batches(held)


def _months(connection: duckdb.DuckDBPyConnection, relation: str) -> set[str]:
    rows = connection.execute(f"SELECT DISTINCT strftime({TIME}, '%Y-%m') FROM {relation}").fetchall()
    return {f"{row[0]}.parquet" for row in rows}


def _register_times(
    connection: duckdb.DuckDBPyConnection, name: str, times: np.ndarray, stamps: np.ndarray | None = None
) -> None:
    columns = {TIME: times} if stamps is None else {TIME: times, "stamp": stamps}
    listed = pa.table({column: pa.array(given, pa.timestamp("us", tz="UTC")) for column, given in columns.items()})
    connection.register("listed_times", listed)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM listed_times")
    connection.unregister("listed_times")
