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
    path = partition_path(workspace, view, cut)
    if not path.exists():
        known = ", ".join(f"{other:%Y-%m-%d %H:%M:%S}" for other in partition_cuts(workspace, view))
        raise MissingError(
            workspace.feature_path(view),
            expected=f"rows of the cut {cut.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC",
            got=f"cuts {known}" if known else "no cut at all",
            fix=f"Run `{command} --as-of {cut.astimezone(UTC).isoformat()}` first.",
        )
    return pq.ParquetFile(path).read(columns=columns)


class PartitionWriter:
    """Streams tables of one schema into a cut's file; the file appears when the block ends without an error."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema = path, schema
        self._temporary = path.with_suffix(f".{os.getpid()}.tmp")

    def __enter__(self) -> PartitionWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Measured scores hardly repeat: a dictionary for them costs time and saves nothing.
        repeating = [field.name for field in self.schema if not pa.types.is_floating(field.type)]
        self._writer = pq.ParquetWriter(self._temporary, self.schema, compression="snappy", use_dictionary=repeating)
        return self

    def write(self, table: pa.Table) -> None:
        """Append a table as one row group."""
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._writer.close()
        if kind is None:
            os.replace(self._temporary, self.path)
        else:
            self._temporary.unlink(missing_ok=True)


def write_partition(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write a cut's file at once."""
    with PartitionWriter(path, schema) as writer:
        for table in tables:
            writer.write(table)
