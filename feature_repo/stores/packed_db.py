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

import numpy as np

from feature_repo.stores.packed import Blobs, Layout
from feature_repo.stores.packed_joined import Apart, Joined, Mixed
from feature_repo.stores.packed_keys import INTEGER, Key, KeyCodec, other_join_keys

BUSY_SECONDS: Final = 60
BATCH_ROWS: Final = 65_536
_DIGITS: Final = 20
_TIME_BYTES: Final = 8
_PLACEHOLDERS: Final = 64
_MOST_PLACEHOLDERS: Final = 16_384
_SHARED: Final = 8
"""Bytes that keys of one user have in common at least: an integer, or a string's length and first letters."""
_TABLE: Final = "view_"
_STAGED: Final = "staged_"
_REPLACED: Final = "replaced_"
_CATALOGUE: Final = """
CREATE TABLE IF NOT EXISTS views (
    number INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    keys TEXT NOT NULL,
    layout INTEGER NOT NULL,
    changes INTEGER NOT NULL DEFAULT 0,
    UNIQUE (project, name)
);
CREATE TABLE IF NOT EXISTS layouts (id INTEGER PRIMARY KEY, fields TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS newest (name TEXT PRIMARY KEY, time BLOB NOT NULL);
"""


@dataclass(frozen=True)
class ViewTable:
    """A view in the catalogue: its table's number, key codec, newest layout and count of write transactions."""

    number: int
    keys: KeyCodec
    layout: int
    changes: int

    @property
    def table(self) -> str:
        return f"{_TABLE}{self.number}"


@dataclass(frozen=True)
class Catalogue:
    """What one snapshot of the file holds: views by (project, name), layouts by id."""

    views: dict[tuple[str, str], ViewTable]
    layouts: dict[int, Layout]


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
                yield Writer(connection, self._read_catalogue(connection), _staged(connection))
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


@dataclass(frozen=True)
class Writer:
    """An open write transaction; `staged` are the numbers of views that are being swapped (see packed_swap.py)."""

    connection: sqlite3.Connection
    catalogue: Catalogue
    staged: frozenset[int]

    def declare(self, project: str, name: str, keys: KeyCodec, layout: Layout) -> ViewTable:
        """Return the view's table as it is to be written, a new one where the view is new.

        Raises ContractError where the view's records have other join keys.
        """
        view = self.catalogue.views.get((project, name))
        if layout.id not in self.catalogue.layouts:
            self.connection.execute("INSERT OR IGNORE INTO layouts VALUES (?, ?)", (layout.id, layout.text))
        if view is not None and view.keys != keys:
            raise other_join_keys(name, view.keys.text, keys.text)
        if view is None:
            number = self.connection.execute(
                "INSERT INTO views (project, name, keys, layout) VALUES (?, ?, ?, ?)",
                (project, name, keys.text, layout.id),
            ).lastrowid
            view = ViewTable(number, keys, layout.id, 0)
            self._make(view.table)
        self.connection.execute(
            "UPDATE views SET layout = ?, changes = changes + 1 WHERE number = ?", (layout.id, view.number)
        )
        return view

    def drop(self, project: str, name: str) -> None:
        """Forget a view and its records."""
        view = self.catalogue.views.pop((project, name), None)
        if view is not None:
            for table in (view.table, f"{_STAGED}{view.number}"):
                self._remove(table)
            self.connection.execute("DELETE FROM views WHERE number = ?", (view.number,))

    def upsert(self, view: ViewTable, keys: np.ndarray | Blobs, records: Blobs) -> None:
        """Write one record per key, at most BATCH_ROWS; much faster where keys come in order.

        An older record never replaces a newer one; an equally old one does.
        """
        self._upsert(view.table, keys, records)
        if view.number in self.staged:
            self.stage(view.number, keys, records)

    def _make(self, table: str) -> None:
        self.connection.execute(f"CREATE TABLE {table} (key PRIMARY KEY, record BLOB) WITHOUT ROWID")
        self.connection.execute("INSERT OR REPLACE INTO newest VALUES (?, ?)", (table, bytes(_TIME_BYTES)))

    def _remove(self, table: str) -> None:
        self.connection.execute(f"DROP TABLE IF EXISTS {table}")
        self.connection.execute("DELETE FROM newest WHERE name = ?", (table,))

    def _rename(self, table: str, name: str) -> None:
        self.connection.execute(f"ALTER TABLE {table} RENAME TO {name}")
        self.connection.execute("UPDATE newest SET name = ? WHERE name = ?", (name, table))

    def begin_staging(self, number: int) -> None:
        """Make a table for the records that are to replace a view's."""
        self._make(f"{_STAGED}{number}")

    def stage(self, number: int, keys: np.ndarray | Blobs, records: Blobs) -> None:
        """Write records that are to replace a view's, as `upsert` writes its own."""
        self._upsert(f"{_STAGED}{number}", keys, records)

    def take_over(self, number: int) -> None:
        """Let the staged records be the view's; the old ones are left over."""
        self._rename(f"{_TABLE}{number}", f"{_REPLACED}{number}")
        self._rename(f"{_STAGED}{number}", f"{_TABLE}{number}")

    def left_over(self) -> list[str]:
        """Return the tables that swaps have replaced, or are at work on, or have left unfinished."""
        return _tables(self.connection, _STAGED) + _tables(self.connection, _REPLACED)

    def remove_some(self, table: str) -> bool:
        """Remove a batch of a table's records, with the last one the table; return whether there are more."""
        end = self.connection.execute(f"SELECT key FROM {table} LIMIT 1 OFFSET ?", (BATCH_ROWS,)).fetchone()
        if end is None:
            self._remove(table)
            return False
        self.connection.execute(f"DELETE FROM {table} WHERE key < ?", end)
        return True

    def _upsert(self, table: str, keys: np.ndarray | Blobs, records: Blobs) -> None:
        key_sql, key_parameters = _cut("key", keys)
        record_sql, record_parameters = _cut("record", records)
        self.connection.execute(
            f"""
            INSERT INTO {table} SELECT {key_sql}, {record_sql} FROM temp.row WHERE n < :rows
            ON CONFLICT (key) DO UPDATE SET record = excluded.record
            WHERE substr(excluded.record, 1, 16) >= substr({table}.record, 1, 16)
            """,
            {"rows": len(records), **key_parameters, **record_parameters},
        )
        # A table of a file that was made before these were noted has none.
        self.connection.execute(
            "UPDATE newest SET time = max(time, ?) WHERE name = ?", (_newest_of(records), table)
        )

    def newest(self, view: ViewTable) -> bytes:
        """Return the newest event time in a view, as a record stores it."""
        noted = self.connection.execute("SELECT time FROM newest WHERE name = ?", (view.table,)).fetchone()
        if noted is not None:
            return noted[0]
        sql = f"SELECT max(substr(record, 1, 8)) FROM {view.table}"
        return self.connection.execute(sql).fetchone()[0] or bytes(8)


def _newest_of(records: Blobs) -> bytes:
    """Return the newest event time of packed records, as they store it."""
    if not len(records):
        return bytes(_TIME_BYTES)
    places = records.offsets[:-1, np.newaxis] + np.arange(_TIME_BYTES)
    newest = np.frombuffer(records.data, np.uint8)[places].view(">u8").max()
    return int(newest).to_bytes(_TIME_BYTES, "big")


def _tables(connection: sqlite3.Connection, prefix: str) -> list[str]:
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB ?", (f"{prefix}*",))
    return [name for (name,) in found]


def _staged(connection: sqlite3.Connection) -> frozenset[int]:
    return frozenset(int(name.removeprefix(_STAGED)) for name in _tables(connection, _STAGED))


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
    for statement in _CATALOGUE.split(";"):
        connection.execute(statement)
    connection.execute("COMMIT")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("CREATE TEMP TABLE row (n INTEGER PRIMARY KEY)")
    connection.execute(
        "WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r WHERE n + 1 < ?) "
        "INSERT INTO temp.row SELECT n FROM r",
        (BATCH_ROWS,),
    )
    return connection


def _cut(name: str, values: np.ndarray | Blobs) -> tuple[str, dict[str, object]]:
    """Return an SQL expression for value n of a buffer, and the parameters that it names."""
    if isinstance(values, np.ndarray):
        text = np.ascontiguousarray(values.astype(f"S{_DIGITS}"))
        cut = f"CAST(substr(:{name}, n * {_DIGITS} + 1, {_DIGITS}) AS INTEGER)"
        return cut, {name: memoryview(text).cast("B")}
    data = memoryview(values.data)
    widths = np.diff(values.offsets)
    if len(widths) and (widths == widths[0]).all():
        first, width = int(values.offsets[0]), int(widths[0])
        cut = f"substr(:{name}, n * :{name}_width + 1, :{name}_width)"
        return cut, {name: _not_empty(data[first : first + width * len(widths)]), f"{name}_width": width}
    ends = values.offsets.astype(f"S{_DIGITS}")
    place = f"CAST(substr(:{name}_ends, n * {_DIGITS} + %d, {_DIGITS}) AS INTEGER)"
    start, end = place % 1, place % (_DIGITS + 1)
    return f"substr(:{name}, {start} + 1, {end} - {start})", {
        name: _not_empty(data),
        f"{name}_ends": memoryview(np.ascontiguousarray(ends)).cast("B"),
    }


def _not_empty(data: memoryview) -> memoryview:
    """SQLite cuts nothing but null out of an empty buffer, and an empty string is a key like any other."""
    return data if len(data) else memoryview(b"\0")
