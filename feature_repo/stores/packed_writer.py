"""Writing to the SQLite file under the packed store: views, their records, and those that are to replace them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

import numpy as np

from feature_repo.stores.packed import Blobs, Layout
from feature_repo.stores.packed_catalogue import TABLE, Catalogue, ViewTable
from feature_repo.stores.packed_keys import KeyCodec, other_join_keys

BATCH_ROWS: Final = 65_536
_DIGITS: Final = 20
_TIME_BYTES: Final = 8
_STAGED: Final = "staged_"
_REPLACED: Final = "replaced_"


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
        self._rename(f"{TABLE}{number}", f"{_REPLACED}{number}")
        self._rename(f"{_STAGED}{number}", f"{TABLE}{number}")

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
        self.connection.execute("UPDATE newest SET time = max(time, ?) WHERE name = ?", (_newest_of(records), table))

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


def staged_views(connection: sqlite3.Connection) -> frozenset[int]:
    return frozenset(int(name.removeprefix(_STAGED)) for name in _tables(connection, _STAGED))


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
