"""Accepted events: on disk before they are confirmed, in the lake soon after, there once whatever happens between.

    <data dir>/journal/NAME.jsonl    events of one process in the order of arrival; it holds a lock on the file

A file goes to the lake as one load named after it, and is removed then. A process that starts takes over the files of
those that are gone. A file that the lake's manifest names already counts no more, so a crash between the two steps
neither loses an event nor doubles it.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.columns import EVENT_COLUMNS, EVENT_TYPE, ITEM, ORIGIN, TIME, USER, VALUE
from feature_repo.lake import JOURNAL, Lake, Load, Manifest

if TYPE_CHECKING:
    from io import BufferedWriter

SOURCE: Final = "journal "
_TIMES: Final = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Event:
    """One accepted event; `time` is UTC."""

    user: int | str
    item: int | str
    time: datetime
    event_type: str
    value: float | None = None
    origin: str | None = None

    def line(self) -> bytes:
        fields = [self.user, self.item, self.time.isoformat(), self.event_type, self.value, self.origin]
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> Event:
        user, item, time, *rest = json.loads(line)
        return cls(user, item, datetime.fromisoformat(time), *rest)


class Journal:
    """The journal of one process over a lake; safe to share between threads."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._folder = lake.data_dir / JOURNAL
        self._lock = threading.RLock()
        self._file: BufferedWriter | None = None
        self._count = 0

    def append(self, events: Sequence[Event]) -> int:
        """Write events and return when they are on disk; the result counts what waits for the lake."""
        with self._lock:
            file = self._opened()
            file.write(b"".join(event.line() for event in events))
            file.flush()
            os.fsync(file.fileno())
            self._count += len(events)
            return self._count

    def pending(self) -> list[Event]:
        """Return the events of every process that the lake does not have yet."""
        done = _journalled(self._lake.manifest())
        paths = (path for path in sorted(self._folder.glob("*.jsonl")) if path.stem not in done)
        return [event for path in paths for event in _read(path)]

    def flush(self) -> int:
        """Bring this process's events into the lake; return how many."""
        with self._lock:
            if self._file is None:
                return 0
            path = Path(self._file.name)
            moved = _to_lake(self._lake, path)
            self._file.close()
            self._file, self._count = None, 0
            return moved

    def recover(self) -> int:
        """Bring the events of processes that are gone into the lake; return how many."""
        moved = 0
        for path in sorted(self._folder.glob("*.jsonl")):
            with claimed(path) as mine:
                moved += _to_lake(self._lake, path) if mine else 0
        return moved

    def _opened(self) -> BufferedWriter:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{os.getpid()}-{uuid4().hex[:8]}"
            self._file = (self._folder / f"{stamp}.jsonl").open("ab")
            fcntl.flock(self._file, fcntl.LOCK_EX)
            _sync_folder(self._folder)
        return self._file


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether nobody else holds the file; held until the block ends."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield path.exists()


def _read(path: Path) -> list[Event]:
    """Read whole lines: a last one that was cut off was never confirmed."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return [Event.of(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def _to_lake(lake: Lake, path: Path) -> int:
    events = _read(path)
    with lake.lock():
        manifest = lake.manifest()
        if events and path.stem not in _journalled(manifest):
            lake.commit(_appended(lake, manifest, path.stem, events))
    path.unlink()
    return len(events)


def _appended(lake: Lake, manifest: Manifest, name: str, events: Sequence[Event]) -> Manifest:
    """Write events as the lake's next file and return the manifest that names it."""
    table = event_table(events, manifest).sort_by([(key, "ascending") for key in (TIME, USER, ITEM, EVENT_TYPE)])
    file = f"events/{len(manifest.loads) + 1:06}.parquet"
    target = lake.root / file
    temporary = target.with_name(f"{target.name}.tmp")
    pq.write_table(table, temporary, compression="zstd")
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    os.replace(temporary, target)
    _sync_folder(target.parent)
    load = Load(f"{SOURCE}{name}", sha256(name.encode()).hexdigest(), {"events": len(events)}, {"events": [file]})
    return replace(manifest, loads=(*manifest.loads, load))


def event_table(events: Sequence[Event], manifest: Manifest) -> pa.Table:
    """Return events as the lake has them."""
    kinds = {"int64": pa.int64(), "string": pa.string()}
    columns: dict[str, pa.Array] = {
        USER: pa.array([event.user for event in events], kinds[manifest.user_id_type]),
        ITEM: pa.array([event.item for event in events], kinds[manifest.item_id_type]),
        TIME: pa.array([event.time for event in events], _TIMES),
        EVENT_TYPE: pa.array([event.event_type for event in events], pa.string()),
        VALUE: pa.array([event.value for event in events], pa.float64()),
        ORIGIN: pa.array([event.origin for event in events], pa.string()),
    }
    return pa.table({name: columns[name] for name in EVENT_COLUMNS})


def _journalled(manifest: Manifest) -> set[str]:
    return {load.source.removeprefix(SOURCE) for load in manifest.loads if load.source.startswith(SOURCE)}


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checked_type(name: Any, known: set[str]) -> str:
    """Return an event type; raises DataError for one that the data does not have."""
    from feature_repo.errors import DataError, did_you_mean

    if name in known:
        return name
    raise DataError(
        "the event type", expected=f"one of {', '.join(sorted(known))}", got=repr(name)[:120],
        fix=f"Correct it, or declare it under `events` in rankhouse.yaml.{did_you_mean(str(name), known)}",
    )  # fmt: skip
