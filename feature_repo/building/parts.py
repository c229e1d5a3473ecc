"""A view's rows on disk: one or two Parquet files per month, sorted by time, then key, replaced as a whole.

A file depends on its rows alone, so days added one by one leave the same bytes as a backfill. `empty.parquet`
is always there: a view without a row yet is still a source that can be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.building.kept import OldFiles
from feature_repo.building.layout import Layout
from feature_repo.building.runs import Runs
from feature_repo.building.transform import ViewTransform
from feature_repo.columns import CREATED, TIME

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
    """Write computed rows into new files (see `layout`).

    Rows of the old files stay unless they are stamped with a dropped snapshot; those of a moved one, of keys that are
    not in the table `touched`, stay too, under its new stamp. `whole` keeps none of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink()
    names = frozenset(path.name for path in folder.glob("*.parquet")) - {EMPTY}
    layout = Layout.of(np.asarray(plan.target.snapshots, np.int64))
    old = OldFiles(folder, frozenset() if plan.whole else names, Layout.of(plan.stored), layout, plan)
    fresh = layout.files(runs.days())
    touched, replaced = old.touched(runs.days())
    files: dict[str, str] = {}
    for name in sorted(touched):
        tables: Iterable[pa.Table] = runs.read(fresh.get(name, []))
        if not plan.whole:
            tables = old.merged(connection, name, list(transform.keys), _together(transform, tables))
        if _write(transform, folder / f".{name}.tmp", tables):
            files[name] = f".{name}.tmp"
    if not (folder / EMPTY).exists() or plan.whole:
        files[EMPTY] = f".{EMPTY}.tmp"
        write_empty(transform.columns, folder / files[EMPTY])
    stale = (names if plan.whole else replaced) - set(files)
    # Rows of another SQL, schema or log are no part of this view.
    stale |= {f"{PUSHED}/{path.name}" for path in pushed_files(folder)} if plan.whole else set()
    return Replacement(folder, files, tuple(sorted(stale)))


def _together(transform: ViewTransform, tables: Iterable[pa.Table]) -> pa.Table:
    schema = arrow_schema({name: kind for name, kind in transform.columns.items() if name != CREATED})
    return pa.concat_tables([schema.empty_table(), *(table.select(schema.names).cast(schema) for table in tables)])


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
