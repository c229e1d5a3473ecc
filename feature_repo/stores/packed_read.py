"""Reading one view of the packed store: keys in, aligned columns out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Protocol

import numpy as np
import pyarrow as pa

from feature_repo.on_demand.shared import Shared, Values
from feature_repo.stores.packed import Layout, Rows
from feature_repo.stores.packed_db import Snapshot, ViewTable
from feature_repo.stores.packed_keys import Asked, Key
from feature_repo.stores.packed_view import NEVER, PackedView

_ENTRY_BYTES: Final = 150
"""What a record costs beside its own bytes: its key, the objects, its place in the dictionary."""


@dataclass(frozen=True)
class WholeView:
    """Every record of a view, opened once, and a blank one behind them; `place` is where a key's record lies."""

    rows: Rows
    place: dict[Key, int]

    @classmethod
    def of(cls, records: dict[Key, bytes], layout: Layout, snapshot: Snapshot) -> WholeView:
        rows = Rows(layout, _of_one_schema([*records.values(), layout.blank], layout, snapshot))
        return cls(rows, {key: place for place, key in enumerate(records)})

    def index(self, asked: Asked) -> np.ndarray:
        """Return the row of each row of a request."""
        blank, numbers = len(self.place), self._numbers
        if numbers is None:
            found = np.fromiter((self.place.get(key, blank) for key in asked.keys), np.int64, len(asked.keys))
        else:
            found = np.searchsorted(numbers[:-1], asked.numbers)
            found = np.where(numbers[found] == asked.numbers, found, blank)
            if None in asked.keys:
                found[asked.keys.index(None)] = blank
        return found if asked.index is None else found[asked.index]

    @cached_property
    def _numbers(self) -> np.ndarray | None:
        """Integer keys, ascending as the file has them, and the one of no key behind them; None for other keys."""
        if not all(isinstance(key, int) for key in self.place):
            return None
        return np.array([*self.place, np.iinfo(np.int64).min], np.int64)


class RecordCache:
    """What was read before, valid until its view is written again: single records, and whole views that were opened.

    Records are forgotten when they outgrow the limit; opened views have a fourth of it, since one takes about as many
    times its records' bytes.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._whole: dict[tuple[int, int], tuple[int, WholeView | None]] = {}
        self._views: dict[tuple[int, int], tuple[int, dict[Key | None, bytes]]] = {}
        self._bytes = 0

    def whole(self, table: ViewTable, layout: Layout) -> WholeView | None:
        """Return an opened view as it is now."""
        changes, view = self._whole.get((table.number, layout.id), (table.changes, None))
        return view if changes == table.changes else None

    def open_whole(self, snapshot: Snapshot, table: ViewTable, layout: Layout) -> None:
        """Open a view as it is in the snapshot, if it is not yet and its records are small enough."""
        held = self._whole.get((table.number, layout.id))
        if held is not None and held[0] == table.changes:
            return
        taken = sum(view.rows.size for _, view in self._whole.values() if view is not None)
        room = self._limit // 4 - taken + (held[1].rows.size if held is not None and held[1] is not None else 0)
        records = snapshot.all_records(table, room)
        view = None if records is None else WholeView.of(records, layout, snapshot)
        self._whole[table.number, layout.id] = (table.changes, view)

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
    def values(self, name: str) -> Values: ...


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

    @property
    def found(self) -> np.ndarray:
        """Which distinct keys have a row, expired or not."""
        return self.rows.event != NEVER

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Give every row of the request its key's value."""
        return values if self.index is None else values[self.index]

    def shared(self, name: str) -> Shared:
        """Return one feature, each value once with a number for each row."""
        return Shared(self.rows.values(name), self.index)

    def array(self, name: str) -> pa.Array:
        """Return one feature, a row per key asked for; null where there is no row or it is too old."""
        if name not in self._arrays:
            self._arrays.update(self.rows.arrays_like(name, self.index))
        return self._arrays[name]

    def lists(self, name: str) -> pa.Array:
        """Return one feature as `array` does, lists that several rows share as a dictionary array, each list once."""
        if self.index is None or not pa.types.is_list(self.rows.layout.by_name[name].type):
            return self.array(name)
        return pa.DictionaryArray.from_arrays(pa.array(self.index.astype(np.int32)), self.rows.values(name).array)


def read_view(snapshot: Snapshot, cache: RecordCache, view: PackedView, asked: Asked, now: int) -> ViewRows:
    """Read the rows asked for; a null key, an unknown one and one whose row is older than the ttl give nulls."""
    table = snapshot.catalogue.views.get(view.id)
    records = [view.layout.blank] * len(asked.keys)
    if table is not None and table.keys == view.keys:
        whole = cache.whole(table, view.layout) if not view.ttl else None
        if whole is not None:
            return ViewRows(whole.rows, whole.index(asked), None)
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
