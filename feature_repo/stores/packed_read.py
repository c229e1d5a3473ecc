"""Reading one view of the packed store: keys in, aligned columns out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import pyarrow as pa

from feature_repo.stores.packed import Layout, Rows
from feature_repo.stores.packed_db import Snapshot, ViewTable
from feature_repo.stores.packed_keys import Asked, Key
from feature_repo.stores.packed_view import NEVER, PackedView

_ENTRY_BYTES: Final = 150
"""What a record costs beside its own bytes: its key, the objects, its place in the dictionary."""


class RecordCache:
    """Records read before, valid until their view is written again; emptied when it outgrows its limit."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._views: dict[tuple[int, int], tuple[int, dict[Key | None, bytes]]] = {}
        self._bytes = 0

    def records(self, snapshot: Snapshot, table: ViewTable, layout: Layout, keys: Sequence[Key | None]) -> list[bytes]:
        """Return a record of `layout` for each distinct key as of the snapshot, the blank one where there is none."""
        if not self._limit:
            return _read(snapshot, table, layout, keys)
        held = self._views.get((table.number, layout.id))
        if held is None or held[0] != table.changes:
            held = self._views[table.number, layout.id] = (table.changes, {})
        known = held[1]
        records = list(map(known.get, keys))
        if None in records:
            missing = [key for key, record in zip(keys, records, strict=True) if record is None]
            read = _read(snapshot, table, layout, missing)
            known.update(zip(missing, read, strict=True))
            records = list(map(known.__getitem__, keys))
            self._bytes += sum(map(len, read)) + _ENTRY_BYTES * len(read)
            if self._bytes > self._limit:
                self._views, self._bytes = {}, 0
        return records


def _read(snapshot: Snapshot, table: ViewTable, layout: Layout, keys: Sequence[Key | None]) -> list[bytes]:
    found = snapshot.records(table, keys)
    return _of_one_schema([found.get(key, layout.blank) for key in keys], layout, snapshot)


class FeatureRows(Protocol):
    """Opened rows of one view, one per distinct key: `packed.Rows`, or Arrow columns of another store.

    `event` holds event times in microseconds, NEVER where there is no row.
    """

    layout: Layout

    @property
    def event(self) -> np.ndarray: ...
    def blank(self, where: np.ndarray) -> None: ...
    def nulls(self, name: str) -> np.ndarray | None: ...
    def numbers(self, name: str) -> np.ndarray: ...
    def arrays_like(self, name: str, index: np.ndarray | None = None) -> dict[str, pa.Array]: ...


@dataclass
class ViewRows:
    """The rows that a request finds in one view, aligned with its keys.

    `rows` holds one row per distinct key, `index` maps the request's rows to them (None: one to one). `expired` marks
    the rows whose features are null because they are beyond the ttl (None: there are none).
    """

    rows: FeatureRows
    index: np.ndarray | None
    expired: np.ndarray | None
    _arrays: dict[str, pa.Array] = field(default_factory=dict, init=False)
    _lists: dict[str, pa.Array] = field(default_factory=dict, init=False)

    @property
    def found(self) -> np.ndarray:
        """Which distinct keys have a row, expired or not."""
        return self.rows.event != NEVER

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Give every row of the request its key's value."""
        return values if self.index is None else values[self.index]

    def array(self, name: str) -> pa.Array:
        """Return one feature, a row per key asked for; null where there is no row or it is too old."""
        if name not in self._arrays:
            self._arrays.update(self.rows.arrays_like(name, self.index))
        return self._arrays[name]

    def lists(self, name: str) -> pa.Array:
        """Return one feature as `array` does, lists that several rows share as a dictionary array, each list once."""
        if self.index is None or not pa.types.is_list(self.rows.layout.by_name[name].type):
            return self.array(name)
        if name not in self._lists:
            indices = pa.array(self.index.astype(np.int32))
            self._lists[name] = pa.DictionaryArray.from_arrays(indices, self.rows.arrays_like(name)[name])
        return self._lists[name]

    def numbers(self, name: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a number feature as stored, and the mask of its nulls (None: there are none)."""
        nulls = self.rows.nulls(name)
        return self.spread(self.rows.numbers(name)), None if nulls is None else self.spread(nulls)


def read_view(snapshot: Snapshot, cache: RecordCache, view: PackedView, asked: Asked, now: int) -> ViewRows:
    """Read the rows asked for; a null key, an unknown one and one whose row is older than the ttl give nulls."""
    table = snapshot.catalogue.views.get(view.id)
    records = [view.layout.blank] * len(asked.keys)
    if table is not None and table.keys == view.keys:
        records = cache.records(snapshot, table, view.layout, asked.keys)
    rows = Rows(view.layout, records)
    return ViewRows(rows, asked.index, expire(rows, view.ttl, now))


def expire(rows: FeatureRows, ttl: int, now: int) -> np.ndarray | None:
    """Make the features of rows beyond the ttl (0: there is none) null, and return their mask, None for none."""
    if not ttl:
        return None
    expired = (now - rows.event > ttl) & (rows.event != NEVER)
    if not expired.any():
        return None
    rows.blank(expired)
    return expired


def _of_one_schema(records: list[bytes], layout: Layout, snapshot: Snapshot) -> list[bytes]:
    """Rewrite the records of earlier schemas of the view, if there are any."""
    schemas = {record[16:24] for record in records}
    if len(schemas) == 1 and layout.schema in schemas:
        return records
    result = list(records)
    for schema in schemas - {layout.schema}:
        rows = [i for i, record in enumerate(records) if record[16:24] == schema]
        written_as = snapshot.catalogue.layouts[int.from_bytes(schema, "little", signed=True)]
        for i, record in zip(rows, layout.adopt([records[i] for i in rows], written_as), strict=True):
            result[i] = record
    return result
