"""The SQLite file under the packed online store: a catalogue of views, one table of (key, record) per view.

Write-ahead logging lets any number of readers see the last commit beside one writer. A write is one transaction of a
few statements: SQLite itself cuts keys and records out of two buffers, no Python object per row is made.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feature_repo.stores.packed import Layout
from feature_repo.stores.packed_catalogue import CATALOGUE, Catalogue, ViewTable
from feature_repo.stores.packed_joined import Apart, Joined, Mixed
from feature_repo.stores.packed_keys import INTEGER, Key, KeyCodec
from feature_repo.stores.packed_writer import BATCH_ROWS, Writer, staged_views

BUSY_SECONDS: Final = 60
_PLACEHOLDERS: Final = 64
_MOST_PLACEHOLDERS: Final = 16_384
_SHARED: Final = 8
"""Bytes that keys of one user have in common at least: an integer, or a string's length and first letters."""


class PackedDatabase:
    """One file; every thread reads through a connection of its own, one connection per process writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pid = os.getpid()
        self._reset()

    def _reset(self) -> None:
        self._readers = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._writer: sqlite3.Connection | None = None
        self._lock = threading.RLock()
        self._layouts: dict[int, Layout] = {}

    def _connect(self) -> sqlite3.Connection:
        if self._pid != os.getpid():
            # A connection must not cross a fork; the parent keeps the old ones.
            self._pid = os.getpid()
            self._reset()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        # Of a new file: bulk writes take a fifth less time than with pages of 8,192, single rows as long.
        connection.execute("PRAGMA page_size = 16384")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -16384")
        # Some builds overwrite what is deleted with zeros: a swapped view would pass through the log once more.
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute(f"PRAGMA mmap_size = {1 << 32}")
        self._opened.append(connection)
        return connection

    def close(self) -> None:
        """Close every connection of this process."""
        for connection in self._opened:
            connection.close()
        self._reset()

    def remove(self) -> None:
        """Delete the file with all that it holds."""
        self.close()
        for suffix in ("", "-wal", "-shm", "-swap"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Read one consistent state: nothing that commits meanwhile is seen."""
        state = self._readers
        if self._pid != os.getpid() or not hasattr(state, "connection"):
            connection = self._connect()
            state = self._readers
            state.connection, state.version, state.catalogue = connection, None, None
        connection = state.connection
        connection.execute("BEGIN")
        try:
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            if version != state.version:
                state.catalogue, state.version = self._read_catalogue(connection), version
            yield Snapshot(connection, state.catalogue)
        finally:
            connection.execute("COMMIT")

    def unchanged(self) -> Catalogue | None:
        """Return what this thread's last snapshot had in its catalogue; None where something was written since."""
        state = self._readers
        if self._pid != os.getpid() or not hasattr(state, "connection"):
            return None
        version = state.connection.execute("PRAGMA data_version").fetchone()[0]
        return state.catalogue if version == state.version else None

    @contextmanager
    def transaction(self) -> Iterator[Writer]:
        """Write all or nothing; waits for another process's writer up to a minute."""
        with self._lock:
            if self._pid != os.getpid() or self._writer is None:
                self._writer = _prepared(self._connect())
            connection = self._writer
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Writer(connection, self._read_catalogue(connection), staged_views(connection))
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _read_catalogue(self, connection: sqlite3.Connection) -> Catalogue:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'layouts'").fetchone():
            return Catalogue({}, {})
        views = {
            (project, name): ViewTable(number, KeyCodec.from_text(keys), layout, changes)
            for number, project, name, keys, layout, changes in connection.execute(
                "SELECT number, project, name, keys, layout, changes FROM views"
            )
        }
        for number, fields in connection.execute("SELECT id, fields FROM layouts"):
            if number not in self._layouts:
                self._layouts[number] = Layout.from_text(fields)
        return Catalogue(views, self._layouts)


@dataclass(frozen=True)
class Snapshot:
    """A consistent state of the file, open for reading."""

    connection: sqlite3.Connection
    catalogue: Catalogue

    def records(self, view: ViewTable, keys: Sequence[Key | None]) -> dict[Key, bytes]:
        """Return the records of distinct keys, at times some of their neighbours too; a key without one is absent."""
        if len(keys) == 1:
            found = self.connection.execute(f"SELECT record FROM {view.table} WHERE key = ?", keys).fetchone()
            return {} if found is None else {keys[0]: found[0]}
        found = self._neighbours(view, keys)
        if found is not None:
            return found
        found = {}
        for start in range(0, len(keys), _MOST_PLACEHOLDERS):
            part = list(keys[start : start + _MOST_PLACEHOLDERS])
            # Few distinct statements, so that SQLite's compiled ones are reused; a padding null matches nothing.
            room = -len(part) % _PLACEHOLDERS
            marks = ",".join("?" * (len(part) + room))
            sql = f"SELECT key, record FROM {view.table} WHERE key IN ({marks})"
            found.update(self.connection.execute(sql, part + [None] * room).fetchall())
        return found

    def all_records(self, view: ViewTable, most_bytes: int) -> dict[Key, bytes] | None:
        """Return every record of a view, None where there are more bytes of them than that."""
        found: dict[Key, bytes] = {}
        cursor = self.connection.execute(f"SELECT key, record FROM {view.table} ORDER BY key")
        while rows := cursor.fetchmany(1024):
            most_bytes -= sum(len(record) for _, record in rows)
            if most_bytes < 0:
                cursor.close()
                return None
            found.update(rows)
        return found

    def beginning(self, view: ViewTable, head: bytes, most: int) -> dict[Key, bytes] | None:
        """Return the records whose keys begin with `head`, in key order; None where there are more than that."""
        end = _behind(head)
        sql = f"SELECT key, record FROM {view.table} WHERE key >= ?{'' if end is None else ' AND key < ?'} LIMIT ?"
        rows = self.connection.execute(sql, [head, *([] if end is None else [end]), most + 1]).fetchall()
        return dict(rows) if len(rows) <= most else None

    def joined(self, view: ViewTable, head: bytes, most_bytes: int) -> Joined | None:
        """Return the records whose keys begin with `head` in one piece; None where they have more bytes than that.

        SQLite joins them, so no Python object per row is made and other threads run meanwhile. Keys that end in an
        integer are all of one length, so they may stand between the records: two sums would take half as long again.
        """
        end = _behind(head)
        where = f"FROM {view.table} WHERE key >= ?1{'' if end is None else ' AND key < ?2'}"
        mixed = view.keys.kinds[-1] == INTEGER
        part = f"substr(key, {view.keys.last_part(head) + 1})"
        columns = f"{_joined(part)}, CAST(group_concat(length({part}), ' ') AS BLOB), {_joined('record')}"
        if mixed:
            columns = f"(SELECT key {where} ORDER BY key LIMIT 1), {_joined('record', 'key')}"
        limit = self.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, most_bytes)
        try:
            sql, range_of = f"SELECT {columns} {where}", [head] if end is None else [head, end]
            found = [part or b"" for part in self.connection.execute(sql, range_of).fetchone()]
        except sqlite3.DataError:
            return None
        finally:
            self.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limit)
        return Mixed(*found) if mixed else Apart(*found)

    def _neighbours(self, view: ViewTable, keys: Sequence[Key | None]) -> dict[Key, bytes] | None:
        """Scan from the first key to the last where they share a beginning, as the pairs of one user do.

        None where that is not so, or where far more lies between them than was asked for.
        """
        known = [key for key in keys if isinstance(key, bytes)]
        if len(known) < _PLACEHOLDERS:
            return None
        first, last, most = min(known), max(known), 2 * len(known)
        if first[:_SHARED] != last[:_SHARED]:
            return None
        sql = f"SELECT key, record FROM {view.table} WHERE key BETWEEN ? AND ? LIMIT ?"
        rows = self.connection.execute(sql, (first, last, most)).fetchall()
        return dict(rows) if len(rows) < most else None


def _joined(column: str, between: str = "''") -> str:
    """Return an SQL expression for the bytes of a column's values one after the other, each but the first behind
    another column's."""
    return f"CAST(group_concat({column}, {between}) AS BLOB)"


def _behind(head: bytes) -> bytes | None:
    """Return the first bytes that come after all that begin with `head`; None where there are none."""
    cut = head.rstrip(b"\xff")
    return cut[:-1] + bytes([cut[-1] + 1]) if cut else None


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Make the catalogue where the file is new, and the row numbers by which a batch is cut."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in CATALOGUE.split(";"):
        connection.execute(statement)
    connection.execute("COMMIT")
    connection.execute("PRAGMA temp_store = MEMORY")
    # What a writer looks through, such as records that were replaced, would count as its memory if it were mapped.
    connection.execute("PRAGMA mmap_size = 0")
    connection.execute("CREATE TEMP TABLE row (n INTEGER PRIMARY KEY)")
    connection.execute(
        "WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r WHERE n + 1 < ?) "
        "INSERT INTO temp.row SELECT n FROM r",
        (BATCH_ROWS,),
    )
    return connection
