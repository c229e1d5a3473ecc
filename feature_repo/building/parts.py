"""A view's rows on disk: one Parquet file per month, sorted by time, then key, replaced as a whole.

A month's file depends on its rows alone, so days added one by one leave the same bytes as a backfill. `empty.parquet`
is always there: a view without a row yet is still a source that can be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
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
    _register_moved(connection, plan.moved)
    old = {path.name for path in folder.glob("*.parquet")} - {EMPTY}
    fresh = _by_month(runs.days())
    touched = set(fresh) if whole else set(fresh) | (old & set(_by_month((plan.dropped // DAY).tolist())))
    files: dict[str, str] = {}
    for name in sorted(touched):
        tables = runs.read(fresh.get(name, []))
        if not whole and name in old:
            tables = _with_kept(connection, transform, list(tables), folder / name, plan)
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
    fresh: Sequence[pa.Table],
    path: Path,
    plan: Plan,
) -> Iterator[pa.Table]:
    """Yield the rows of a month's file that stay, with new ones among them, in order.

    No row that stays as it is has the time of a new one, so only the latter are sorted.
    """
    added = _added(connection, transform, fresh, path, moved=len(plan.moved) > 0)
    times = _times(added)
    done = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROW_GROUP, columns=added.column_names):
            rows = pa.table(batch).select(added.column_names).cast(added.schema)
            kept = rows.filter(~np.isin(_times(rows), plan.dropped))
            stamps = _times(kept)
            upto = np.searchsorted(times, stamps[-1]) if len(stamps) else done
            starts = done + np.flatnonzero(np.diff(times[done:upto], prepend=-1))
            passed = 0
            for start, end in pairwise([*starts, upto]):
                place = np.searchsorted(stamps, times[start])
                yield kept.slice(passed, place - passed)
                yield added.slice(start, end - start)
                passed = place
            yield kept.slice(passed)
            done = max(done, upto)
    yield added.slice(done)


def _added(
    connection: duckdb.DuckDBPyConnection,
    transform: ViewTransform,
    fresh: Sequence[pa.Table],
    path: Path,
    *,
    moved: bool,
) -> pa.Table:
    """Return the new rows of a month and those of moved snapshots that stay, sorted by time, then key."""
    schema = arrow_schema({name: kind for name, kind in transform.columns.items() if name != CREATED})
    rows = pa.concat_tables([schema.empty_table(), *(table.select(schema.names).cast(schema) for table in fresh)])
    if not moved:
        return rows
    connection.register("fresh", rows)
    keys = ", ".join(f'"{key}"' for key in transform.keys)
    names = ", ".join(f'"{name}"' for name in schema.names)
    added = connection.sql(
        f"SELECT {names} FROM (SELECT {names} FROM fresh UNION ALL BY NAME "
        f"SELECT old.* EXCLUDE ({CREATED}) REPLACE (moved.stamp AS {TIME}) FROM {parquet([str(path)])} AS old "
        f"JOIN moved ON moved.{TIME} = old.{TIME} ANTI JOIN touched USING ({keys})) ORDER BY {TIME}, {keys}"
    ).to_arrow_table()
    connection.unregister("fresh")
    return added.cast(schema)


def _times(table: pa.Table) -> np.ndarray:
    return table[TIME].cast(pa.int64()).to_numpy()


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


def _register_moved(connection: duckdb.DuckDBPyConnection, moved: np.ndarray) -> None:
    old, new = (pa.array(times, pa.timestamp("us", tz="UTC")) for times in moved.T)
    connection.register("listed_times", pa.table({TIME: old, "stamp": new}))
    connection.execute("CREATE OR REPLACE TEMP TABLE moved AS SELECT * FROM listed_times")
    connection.unregister("listed_times")
