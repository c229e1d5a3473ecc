"""First-stage views on disk: one folder per cut, replaced as a whole.

    <data dir>/features/<view>/cut=20001227T174055.000000Z/part-0.parquet

A cut's file is written under a temporary name beside it and moved into place, so a reader sees the old one or the new.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.errors import MissingError
from feature_repo.workspace import Workspace

_STAMP: Final = "cut=%Y%m%dT%H%M%S.%fZ"
_FILE: Final = "part-0.parquet"
ROW_GROUP: Final = 1 << 18
ROW_GROUP_BYTES: Final = 1 << 27
"""A row group holds no more than that, about: rows that hold lists are long, and readers hold a row group at a time."""


def partition_path(workspace: Workspace, view: str, cut: datetime) -> Path:
    """Return the file that holds a view's rows of one cut."""
    return workspace.feature_path(view) / cut.astimezone(UTC).strftime(_STAMP) / _FILE


def partition_cuts(workspace: Workspace, view: str) -> list[datetime]:
    """Return the cuts that a view holds, ascending."""
    folders = workspace.feature_path(view).glob(f"cut=*/{_FILE}")
    return sorted(datetime.strptime(path.parent.name, _STAMP).replace(tzinfo=UTC) for path in folders)


def read_partition(
    workspace: Workspace, view: str, cut: datetime, columns: list[str] | None, *, command: str
) -> pa.Table:
    """Return a view's rows of one cut; `command` is what makes them, named where they are missing."""
    return open_partition(workspace, view, cut, command=command).read(columns=columns)


def open_partition(workspace: Workspace, view: str, cut: datetime, *, command: str) -> pq.ParquetFile:
    """Open a view's file of one cut; `command` is what makes it, named where it is missing."""
    path = partition_path(workspace, view, cut)
    if not path.exists():
        known = ", ".join(f"{other:%Y-%m-%d %H:%M:%S}" for other in partition_cuts(workspace, view))
        raise MissingError(
            workspace.feature_path(view),
            expected=f"rows of the cut {cut.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC",
            got=f"cuts {known}" if known else "no cut at all",
            fix=f"Run `{command} --as-of {cut.astimezone(UTC).isoformat()}` first.",
        )
    return pq.ParquetFile(path)


class PartitionWriter:
    """Streams tables of one schema into a cut's file; the file appears when the block ends without an error."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema = path, schema
        self._temporary = path.with_suffix(f".{os.getpid()}.tmp")
        self._waiting: list[pa.Table] = []
        self._rows = self._bytes = 0

    def __enter__(self) -> PartitionWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Measured scores hardly repeat: dictionaries, bounds and compression for them cost time and save nothing.
        measured = {field.name for field in self.schema if pa.types.is_floating(field.type)}
        repeating = [field.name for field in self.schema if field.name not in measured]
        compression = {_leaf(field): "NONE" if field.name in measured else "SNAPPY" for field in self.schema}
        self._writer = pq.ParquetWriter(
            self._temporary, self.schema, compression=compression, use_dictionary=repeating, write_statistics=repeating
        )
        return self

    def write(self, table: pa.Table) -> None:
        """Append a table; small ones wait for others to share a row group with."""
        self._waiting.append(table)
        self._rows += table.num_rows
        self._bytes += table.nbytes
        if self._rows >= ROW_GROUP or self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=max(self._rows, 1))
        self._waiting, self._rows, self._bytes = [], 0, 0

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()
        if kind is None:
            os.replace(self._temporary, self.path)
        else:
            self._temporary.unlink(missing_ok=True)


def _leaf(field: pa.Field) -> str:
    """Return the path under which Parquet stores the values of a column."""
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name


def write_partition(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write a cut's file at once."""
    with PartitionWriter(path, schema) as writer:
        for table in tables:
            writer.write(table)
