"""Parquet as the offline store reads it: which files a source means, their one schema, and rows in a fixed order.

A path is a file, a directory (searched for *.parquet at any depth, names that begin with . or _ left out, `key=value`
folders read as columns) or a glob. Relative paths start at the repo, `${RANKHOUSE_DATA_DIR}` is known. Anything with a
scheme (s3://, gs://, https:// ...) is left to DuckDB: see duckdb_scan.py.

Rows are numbered over all row groups in order of file name, so that one pass can choose rows by key and time and a
second one can fetch the features of just those.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlparse

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.data_dir import resolve
from feature_repo.errors import DataError, MissingError
from feature_repo.stores.ordered import in_order
from feature_repo.stores.times import finest_unit, is_time, to_ticks

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
NO_COLUMNS = pa.schema([])
_GLOB = set("*?[")


class Scan(Protocol):
    """Rows of one source in a fixed order, numbered from 0."""

    schema: pa.Schema

    @property
    def rows(self) -> int:
        """How many rows there may be to read, at most."""

    def prune(self, bounds: Mapping[str, tuple[int, int]]) -> Scan:
        """Leave out what can't hold a value in these bounds (integers; times as ticks of `finest_unit`)."""

    def batches(self, columns: Sequence[str], wanted: np.ndarray | None = None) -> Iterator[tuple[int, pa.Table]]:
        """Yield (number of the first row, rows) for all rows, or for the `wanted` ones (sorted numbers) only.

        With `wanted` the number is the first wanted row's index within `wanted`.
        """


@dataclass(frozen=True)
class RowGroup:
    """One row group: its file, its index there, the number of its first row, how many it has."""

    file: ParquetPart
    index: int
    start: int
    rows: int


@dataclass(frozen=True)
class ParquetPart:
    """One file: its footer and the values that its folders' names give it."""

    path: str
    metadata: pq.FileMetaData
    folders: Mapping[str, str | None]

    @cached_property
    def schema(self) -> pa.Schema:
        return self.metadata.schema.to_arrow_schema().remove_metadata()

    @cached_property
    def _places(self) -> dict[str, int]:
        return {self.metadata.schema.column(i).path: i for i in range(self.metadata.num_columns)}

    def statistics(self, index: int, column: str) -> pq.Statistics | None:
        """Return the statistics of a flat column in one row group, None where there are none."""
        place = self._places.get(column)
        return None if place is None else self.metadata.row_group(index).column(place).statistics

    def read(self, index: int, columns: Sequence[str], schema: pa.Schema) -> pa.Table:
        """Read columns of one row group in the types of `schema`; what the file lacks is null."""
        stored = [name for name in columns if name in self.schema.names]
        rows = self.metadata.row_group(index).num_rows
        table = None
        if stored:
            with pq.ParquetFile(self.path, metadata=self.metadata, memory_map=True) as file:
                table = file.read_row_group(index, columns=stored, use_threads=False)
        arrays = [
            self._column(table[name] if name in stored else None, name, schema.field(name).type, rows)
            for name in columns
        ]
        return pa.table(arrays, schema=pa.schema([schema.field(name) for name in columns]))

    def _column(
        self, column: pa.ChunkedArray | None, name: str, data_type: pa.DataType, rows: int
    ) -> pa.ChunkedArray | pa.Array:
        if column is not None:
            return column if column.type == data_type else column.cast(data_type)
        value = self.folders.get(name)
        if value is None:
            return pa.nulls(rows, data_type)
        return pa.repeat(pa.scalar(value).cast(data_type), rows)


class ParquetScan:
    """Local Parquet files as one table."""

    def __init__(self, files: Sequence[ParquetPart], where: str, threads: int, empty: pa.Schema) -> None:
        self.schema = _unify(files, where) if files else empty
        self.threads = threads
        self.groups: list[RowGroup] = []
        start = 0
        for file in files:
            for index in range(file.metadata.num_row_groups):
                size = file.metadata.row_group(index).num_rows
                self.groups.append(RowGroup(file, index, start, size))
                start += size

    @property
    def rows(self) -> int:
        return sum(group.rows for group in self.groups)

    def prune(self, bounds: Mapping[str, tuple[int, int]]) -> ParquetScan:
        pruned = object.__new__(ParquetScan)
        pruned.schema, pruned.threads = self.schema, self.threads
        groups = self.groups
        for name, (low, high) in bounds.items():
            groups = _overlapping(groups, self.schema.field(name), low, high)
        start = 0
        pruned.groups = []
        for group in groups:
            pruned.groups.append(replace(group, start=start))
            start += group.rows
        return pruned

    def batches(self, columns: Sequence[str], wanted: np.ndarray | None = None) -> Iterator[tuple[int, pa.Table]]:
        tasks: list[tuple[int, RowGroup, np.ndarray | None]] = []
        for group in self.groups:
            if wanted is None:
                tasks.append((group.start, group, None))
                continue
            first, last = np.searchsorted(wanted, [group.start, group.start + group.rows])
            if first < last:
                rows = None if last - first == group.rows else wanted[first:last] - group.start
                tasks.append((int(first), group, rows))

        def read(task: tuple[int, RowGroup, np.ndarray | None]) -> tuple[int, pa.Table]:
            number, group, rows = task
            table = group.file.read(group.index, columns, self.schema)
            return number, table if rows is None else table.take(pa.array(rows))

        return in_order(read, tasks, self.threads)


def is_uri(path: str) -> bool:
    """Tell whether a path has a scheme (one letter is a drive)."""
    return len(urlparse(path).scheme) > 1


def local_files(path: str, repo_path: Path) -> list[str]:
    """Return the Parquet files that a path means, sorted; none for an empty directory.

    Raises MissingError where nothing is there.
    """
    full = str(resolve(path, repo_path))
    if os.path.isdir(full):
        found = (str(file.relative_to(full)) for file in Path(full).rglob("*.parquet") if file.is_file())
        visible = (name for name in found if not any(_is_hidden(part) for part in Path(name).parts))
        return [os.path.join(full, name) for name in sorted(visible)]
    if os.path.exists(full):
        return [full]
    matches = sorted(glob.glob(full, recursive=True)) if _GLOB & set(path) else []
    if not matches:
        raise MissingError(
            full,
            expected="a Parquet file, a directory of them or a glob that matches some",
            got="nothing",
            fix="Run `rankhouse features build`, which computes the views, or correct the path of the view's source.",
        )
    return [file for match in matches for file in (local_files(match, repo_path) if os.path.isdir(match) else [match])]


def _is_hidden(name: str) -> bool:
    """As Spark has it: a folder such as `__log_date=2024-06-01` is data."""
    return name[0] == "." or (name[0] == "_" and "=" not in name)


def open_parquet(path: str, repo_path: Path, threads: int = 1, empty: pa.Schema = NO_COLUMNS) -> ParquetScan:
    """Open a local source; an empty directory has no rows of the schema `empty`.

    Raises MissingError where nothing is there, DataError where a file is no Parquet.
    """
    base = str(resolve(path, repo_path))
    parts = [_part(file, base) for file in local_files(path, repo_path)]
    return ParquetScan(parts, base, threads, empty)


def _part(path: str, base: str) -> ParquetPart:
    try:
        metadata = pq.read_metadata(path)
    except pa.ArrowInvalid as error:
        raise DataError(path, expected="a Parquet file", got=str(error), fix="Remove or rewrite it.") from error
    return ParquetPart(path, metadata, _folders(path, base))


def _folders(path: str, base: str) -> dict[str, str | None]:
    """Read `key=value` folder names, below a directory or anywhere in what a glob matched."""
    root = base if os.path.isdir(base) else base.split("*")[0]
    below = os.path.dirname(path[len(root) :] if path.startswith(root) else path)
    pairs = [part.split("=", 1) for part in below.split(os.sep) if "=" in part]
    return {key: None if value == HIVE_NULL else unquote(value) for key, value in pairs}


def _unify(files: Sequence[ParquetPart], where: str) -> pa.Schema:
    try:
        schema = pa.unify_schemas([file.schema for file in files], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(where, expected="files of one schema", got=str(error), fix="Rewrite the odd one.") from error
    for key in dict.fromkeys(key for file in files for key in file.folders):
        if key not in schema.names:
            schema = schema.append(pa.field(key, _folder_type([file.folders.get(key) for file in files])))
    return schema


def _folder_type(values: Sequence[str | None]) -> pa.DataType:
    whole = all(value.removeprefix("-").isdecimal() and str(int(value)) == value for value in values if value)
    return pa.int64() if whole and any(values) else pa.string()


def _overlapping(groups: Sequence[RowGroup], field: pa.Field, low: int, high: int) -> list[RowGroup]:
    """Return the row groups whose statistics allow a value in [low, high], and those without statistics."""
    if not (is_time(field.type) or pa.types.is_integer(field.type)):
        return list(groups)
    keep = np.ones(len(groups), dtype=bool)
    bounded: list[int] = []
    ends: list[object] = []
    for number, group in enumerate(groups):
        statistics = group.file.statistics(group.index, field.name)
        if statistics is not None and statistics.has_min_max:
            bounded.append(number)
            ends += [statistics.min, statistics.max]
    values = _as_integers(pa.array(ends, field.type), field).reshape(-1, 2)
    keep[bounded] = (values[:, 0] <= high) & (values[:, 1] >= low)
    return [group for group, kept in zip(groups, keep, strict=True) if kept]


def _as_integers(ends: pa.Array, field: pa.Field) -> np.ndarray:
    if pa.types.is_integer(field.type):
        return ends.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return to_ticks(ends, finest_unit(field.type), field.name)
