"""A view's rows on disk: one Parquet file per month, sorted by time, then key, replaced as a whole.

A month's file depends on its rows alone, so days added one by one leave the same bytes as a backfill. `empty.parquet`
is always there: a view without a row yet is still a source that can be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.building.runs import Runs
from feature_repo.building.snapshots import DAY
from feature_repo.building.transform import ViewTransform
from feature_repo.columns import CREATED, TIME
from feature_repo.lake import parquet

if TYPE_CHECKING:
    import duckdb

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
    runs: Runs,
    plan: Plan,
) -> Replacement:
    """Write computed rows into new files for their months.

    Rows of the old files stay unless they are stamped with a dropped snapshot; those of a moved one, of keys that are
    not in the table `touched`, stay too, under its new stamp. `whole` keeps none of them.
    """
    whole = plan.whole
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink()
    _register_times(connection, "dropped", plan.dropped)
    _register_times(connection, "moved", *plan.moved.T)
    old = {path.name for path in folder.glob("*.parquet")} - {EMPTY}
    fresh = _by_month(runs.days())
    touched = set(fresh) if whole else set(fresh) | (old & set(_by_month((plan.dropped // DAY).tolist())))
    files: dict[str, str] = {}
    for name in sorted(touched):
        tables = runs.read(fresh.get(name, []))
        if not whole and name in old:
            tables = _with_kept(connection, transform, tables, folder / name, moved=len(plan.moved) > 0)
        if _write(transform, folder / f".{name}.tmp", tables):
            files[name] = f".{name}.tmp"
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


def _by_month(days: Sequence[int]) -> dict[str, list[int]]:
    """Return the days, numbered from 1970-01-01, by the file that their rows belong to."""
    months: dict[str, list[int]] = {}
    for day, month in zip(days, np.array(days, "datetime64[D]").astype("datetime64[M]").astype(str), strict=True):
        months.setdefault(f"{month}.parquet", []).append(day)
    return months


def _with_kept(
    connection: duckdb.DuckDBPyConnection,
    transform: ViewTransform,
    tables: Iterable[pa.Table],
    path: Path,
    *,
    moved: bool,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a month's file that stay, with new ones among them, in order."""
    rows = list(_kept(transform, path, moved=moved))
    fresh = list(tables)
    if fresh:
        connection.register("fresh", pa.concat_tables(fresh))
        rows.append("SELECT * FROM fresh")
    order = ", ".join([TIME, *(f'"{key}"' for key in transform.keys)])
    query = f"SELECT * FROM ({' UNION ALL BY NAME '.join(rows)}) ORDER BY {order}"
    yield from connection.sql(query).to_arrow_reader(ROW_GROUP)
    if fresh:
        connection.unregister("fresh")


def _kept(transform: ViewTransform, path: Path, *, moved: bool) -> Iterator[str]:
    """Yield the queries of an old file's rows that stay."""
    old = f"(SELECT * EXCLUDE ({CREATED}) FROM {parquet([str(path)])})"
    yield f"SELECT * FROM {old} WHERE {TIME} NOT IN (FROM dropped)"
    if moved:
        keys = ", ".join(f'"{key}"' for key in transform.keys)
        yield (
            f"SELECT old.* REPLACE (moved.stamp AS {TIME}) FROM {old} AS old "
            f"JOIN moved ON moved.{TIME} = old.{TIME} ANTI JOIN touched USING ({keys})"
        )


def _write(transform: ViewTransform, path: Path, tables: Iterable[pa.Table | pa.RecordBatch]) -> bool:
    """Write one file; return False, and no file, where there are no rows."""
    schema = arrow_schema(transform.columns)
    written = 0
    # DuckDB's own writer marks a column as required where it happens to hold no null: bytes would depend on the plan.
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _row_groups(tables):
            rows = group.append_column(CREATED, group[TIME]).select(schema.names).cast(schema)
            writer.write_table(rows, row_group_size=ROW_GROUP)
            written += group.num_rows
    if not written:
        path.unlink()
    return written > 0


def _row_groups(tables: Iterable[pa.Table | pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield tables of ROW_GROUP rows, the last one shorter, however the batches are cut."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for table in tables:
        held += table.to_batches() if isinstance(table, pa.Table) else [table]
        rows += table.num_rows
        while rows >= ROW_GROUP:
            whole = pa.Table.from_batches(held)
            yield whole.slice(0, ROW_GROUP)
            held = whole.slice(ROW_GROUP).to_batches()
            rows -= ROW_GROUP
    if rows:
        yield pa.Table.from_batches(held)


def _register_times(
    connection: duckdb.DuckDBPyConnection, name: str, times: np.ndarray, stamps: np.ndarray | None = None
) -> None:
    columns = {TIME: times} if stamps is None else {TIME: times, "stamp": stamps}
    listed = pa.table({column: pa.array(given, pa.timestamp("us", tz="UTC")) for column, given in columns.items()})
    connection.register("listed_times", listed)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM listed_times")
    connection.unregister("listed_times")
