"""Reading one view of the packed store: keys in, aligned columns out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from feature_repo.stores.number_places import NumberPlaces
from feature_repo.stores.packed import Layout
from feature_repo.stores.packed_db import Catalogue, Snapshot, ViewTable
from feature_repo.stores.packed_found import ViewRows, of_one_schema, rows_of
from feature_repo.stores.packed_joined import Mixed, apart
from feature_repo.stores.packed_keys import INTEGER, INTEGER_BYTES, Asked, Key
from feature_repo.stores.packed_rows import Rows
from feature_repo.stores.packed_runs import read_runs
from feature_repo.stores.packed_view import PackedView

_ENTRY_BYTES: Final = 150
"""What a record costs beside its own bytes: its key, the objects, its place in the dictionary."""
_OPENED: Final = 4
"""How many times its records' bytes an opened row may take, with what was decoded of it."""
_NEIGHBOURS: Final = 4
"""A user's rows are held together where there are at most so many times as many as a request asks for."""


@dataclass(frozen=True)
class OpenedRows:
    """Records opened once, a blank one behind them; `keys` are theirs, or what is left of them behind a beginning.

    A single key that has a record is alone: all rows of its request are this one.
    """

    rows: Rows
    keys: np.ndarray | Sequence[Key]

    @classmethod
    def of(
        cls, records: Sequence[bytes], keys: np.ndarray | Sequence[Key], layout: Layout, snapshot: Snapshot
    ) -> OpenedRows:
        layouts = snapshot.catalogue.layouts
        return cls(Rows(layout, of_one_schema([*records, layout.blank], layout, layouts.__getitem__)), keys)

    @classmethod
    def of_one(cls, key: Key, layout: Layout, snapshot: Snapshot, table: ViewTable) -> OpenedRows:
        """Open what there is of one key: its record, or the blank one."""
        found = list(snapshot.records(table, [key]).values()) or [layout.blank]
        return cls(Rows(layout, of_one_schema(found, layout, snapshot.catalogue.layouts.__getitem__)), [key])

    def index(self, asked: Asked) -> np.ndarray:
        """Return the row of each row of a request."""
        if asked.numbers is not None and self._numbers is not None:
            return self._number_places.find(asked.numbers)
        found = np.fromiter((self._place.get(key, len(self.keys)) for key in asked.keys), np.int64, len(asked.keys))
        return found if asked.index is None else found[asked.index]

    @cached_property
    def _place(self) -> dict[Key, int]:
        keys = self.keys.tolist() if isinstance(self.keys, np.ndarray) else self.keys
        return {key: place for place, key in enumerate(keys)}

    @cached_property
    def _numbers(self) -> np.ndarray | None:
        """Integer keys, ascending as the file has them; None for other keys, and where there is none."""
        if isinstance(self.keys, np.ndarray):
            return self.keys if len(self.keys) else None
        whole = len(self.keys) and all(isinstance(key, int) for key in self.keys)
        return np.array(self.keys, np.int64) if whole else None

    @cached_property
    def _number_places(self) -> NumberPlaces:
        return NumberPlaces.of(self._numbers)


class RecordCache:
    """What was read before, valid until its view is written again: single records, opened users and whole views.

    The first two are forgotten when they outgrow the limit; whole views have a fourth of it, since one takes about as
    many times its records' bytes.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._whole: dict[tuple[int, int], tuple[int, OpenedRows | None]] = {}
        self._users: dict[tuple[int, int], tuple[int, dict[Key, OpenedRows | int]]] = {}
        self._views: dict[tuple[int, int], tuple[int, dict[Key | None, bytes]]] = {}
        self._bytes = 0

    def whole(self, table: ViewTable, layout: Layout) -> OpenedRows | None:
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
        view = None if records is None else OpenedRows.of(list(records.values()), list(records), layout, snapshot)
        self._whole[table.number, layout.id] = (table.changes, view)

    def held(self, table: ViewTable, layout: Layout, asked: Asked) -> ViewRows | None:
        """Return a request's rows where they are opened as they are now."""
        opened = self.whole(table, layout)
        if opened is not None:
            return ViewRows(opened.rows, opened.index(asked), None)
        if asked.head is None:
            return None
        changes, users = self._users.get((table.number, layout.id), (None, {}))
        opened = users.get(asked.head) if changes == table.changes else None
        return _of_user(opened, asked) if isinstance(opened, OpenedRows) else None

    def open_user(self, snapshot: Snapshot, table: ViewTable, layout: Layout, asked: Asked) -> ViewRows | None:
        """Open all rows that begin as the request's do, a user's; None where these would be far more than it needs."""
        if asked.head is None or not self._limit:
            return None
        held = self._users.get((table.number, layout.id))
        if held is None or held[0] != table.changes:
            held = self._users[table.number, layout.id] = (table.changes, {})
        tried = held[1].get(asked.head, 0)
        opened = _read_user(snapshot, table, layout, asked, tried) if isinstance(tried, int) else tried
        held[1][asked.head] = opened
        if isinstance(opened, int):
            return None
        self._grow(_OPENED * opened.rows.size + _ENTRY_BYTES * len(opened.rows.raw))
        return _of_user(opened, asked)

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
            self._grow(sum(map(len, read)) + _ENTRY_BYTES * len(read))
        return records

    def _grow(self, count: int) -> None:
        self._bytes += count
        if self._bytes > self._limit:
            self._views, self._users, self._bytes = {}, {}, 0


def _read(snapshot: Snapshot, table: ViewTable, layout: Layout, keys: Sequence[Key | None]) -> list[bytes]:
    found = snapshot.records(table, keys)
    records = [found.get(key, layout.blank) for key in keys]
    return of_one_schema(records, layout, snapshot.catalogue.layouts.__getitem__)


def _read_user(snapshot: Snapshot, table: ViewTable, layout: Layout, asked: Asked, tried: int) -> OpenedRows | int:
    """Open the rows of a key, or of all keys that begin so; where they are too many, return how many are too few."""
    if asked.rest is None:
        return OpenedRows.of_one(asked.head, layout, snapshot, table)
    most = _NEIGHBOURS * asked.rest.rows
    opened = _read_joined(snapshot, table, layout, asked.head, most) if most > tried else None
    if opened is not None:
        return opened
    found = snapshot.beginning(table, asked.head, most) if most > tried else None
    if found is None:
        return max(most, tried)
    return OpenedRows.of(list(found.values()), table.keys.last_parts(list(found), asked.head), layout, snapshot)


def _read_joined(snapshot: Snapshot, table: ViewTable, layout: Layout, head: bytes, most: int) -> OpenedRows | None:
    """Open at most so many rows that begin so in one piece, without an object for each.

    None where they are more, differ in length or schema, or where their keys do not end in an integer.
    """
    width = layout.dtype.itemsize
    if layout.slots or table.keys.kinds[-1] != INTEGER:
        return None
    found = snapshot.joined(table, head, most * (width + len(head) + INTEGER_BYTES))
    both = apart(found, width) if isinstance(found, Mixed) else None
    if both is None:
        return None
    keys, records = both
    blank = np.frombuffer(layout.blank, records.dtype)
    rows = Rows.of_one_width(layout, np.concatenate([records, blank]).view(layout.dtype))
    return OpenedRows(rows, keys) if (rows.raw["schema"] == layout.id).all() else None


def _of_user(opened: OpenedRows, asked: Asked) -> ViewRows:
    return ViewRows(opened.rows, asked.index if asked.rest is None else opened.index(asked.rest), None)


def held_view(catalogue: Catalogue, cache: RecordCache, view: PackedView, asked: Asked) -> ViewRows | None:
    """Return the rows asked for where memory holds them opened; rows with a ttl never are."""
    table = catalogue.views.get(view.id)
    if view.ttl or table is None or table.keys != view.keys:
        return None
    return cache.held(table, view.layout, asked)


def read_view(snapshot: Snapshot, cache: RecordCache, view: PackedView, asked: Asked, now: int) -> ViewRows:
    """Read the rows asked for; a null key, an unknown one and one whose row is older than the ttl give nulls."""
    table = snapshot.catalogue.views.get(view.id)
    if table is None or table.keys != view.keys:
        records = [view.layout.blank] * len(asked.keys)
    else:
        opened = held_view(snapshot.catalogue, cache, view, asked)
        if opened is None and not view.ttl:
            opened = cache.open_user(snapshot, table, view.layout, asked)
        if opened is None and asked.runs:
            opened = read_runs(snapshot, table, view, asked, now)
        if opened is not None:
            return opened
        records = cache.records(snapshot, table, view.layout, asked.keys)
    return rows_of(view, asked, records, now)
