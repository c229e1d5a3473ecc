"""Rows that events pushed online, on their way to the offline store: what training joins is what was served.

    <data dir>/journal/NAME.VIEW.arrows              rows of one process that wait, an Arrow stream
    <data dir>/features/VIEW/pushed/rows-000001.parquet

A row lies in the stream before it goes online, so a killed process leaves none behind that only requests have seen: the
next process brings it over. Doing that twice is harmless, since equal rows are one row to a point-in-time join.
"""

from __future__ import annotations

import fcntl
import os
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import pyarrow as pa

from feature_repo.building.parts import PUSHED
from feature_repo.lake import JOURNAL
from ranking.serving.journal import claimed

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

_END: Final = ".arrows"


@dataclass
class _Stream:
    """An open stream of one view; the process holds a lock on its file."""

    file: pa.OSFile
    lock: int
    writer: pa.ipc.RecordBatchStreamWriter
    path: Path

    @classmethod
    def open(cls, path: Path, schema: pa.Schema) -> _Stream:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = pa.OSFile(str(path), "wb")
        lock = os.open(path, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return cls(file, lock, pa.ipc.new_stream(file, schema), path)

    def close(self) -> None:
        self.writer.close()
        self.file.close()
        os.close(self.lock)


@dataclass
class PushedRows:
    """The streams of one process; safe to share between threads."""

    workspace: Workspace
    _streams: dict[str, _Stream] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, view: str, rows: pa.Table) -> None:
        """Keep rows of a view that are about to go online."""
        with self._lock:
            if view not in self._streams:
                stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{os.getpid()}-{uuid4().hex[:8]}"
                path = self.workspace.data_dir / JOURNAL / f"{stamp}.{view}{_END}"
                self._streams[view] = _Stream.open(path, rows.schema)
            # Arrow's file is not buffered: a written batch outlasts the process.
            self._streams[view].writer.write_table(rows)

    def flush(self) -> int:
        """Bring the rows that wait to the offline store; return how many."""
        with self._lock:
            moved = 0
            for view in list(self._streams):
                stream = self._streams.pop(view)
                stream.writer.close()
                moved += self._to_offline(stream.path)
                stream.close()
            return moved

    def recover(self) -> int:
        """Bring over the rows of processes that are gone; return how many."""
        moved = 0
        for path in sorted((self.workspace.data_dir / JOURNAL).glob(f"*{_END}")):
            with claimed(path) as mine:
                moved += self._to_offline(path) if mine else 0
        return moved

    def _to_offline(self, path: Path) -> int:
        from feature_repo.stores.parquet_writer import append_partitioned

        rows = _read(path)
        if rows is not None:
            view = path.name.removesuffix(_END).rsplit(".", 1)[1]
            append_partitioned(rows, self.workspace.feature_path(view) / PUSHED, [])
        path.unlink()
        return 0 if rows is None else rows.num_rows


def _read(path: Path) -> pa.Table | None:
    """Read whole batches: a last one that was cut off never went online. None where there is no whole one."""
    batches = []
    try:
        with pa.OSFile(str(path)) as file:
            batches.extend(pa.ipc.open_stream(file))
    except (pa.ArrowInvalid, OSError, EOFError):
        pass
    return pa.Table.from_batches(batches) if batches else None
