"""Reading one view of the packed store: keys in, aligned columns out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from feature_repo.stores.packed import Layout, Rows
from feature_repo.stores.packed_db import Snapshot, ViewTable
from feature_repo.stores.packed_keys import Key
from feature_repo.stores.packed_view import PackedView


class RecordCache:
    """Records read before, valid until their view is written again; emptied when it outgrows its limit."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._views: dict[int, tuple[int, dict[Key, bytes | None]]] = {}
        self._bytes = 0

    def records(self, snapshot: Snapshot, view: ViewTable, keys: Sequence[Key]) -> list[bytes | None]:
        """Return the record of each distinct key as of the snapshot, None where there is none."""
        if not self._limit:
            return list(map(snapshot.records(view, keys).get, keys))
        held = self._views.get(view.number)
        if held is None or held[0] != view.changes:
            held = self._views[view.number] = (view.changes, {})
        known = held[1]
        missing = [key for key in keys if key not in known]
        if missing:
            found = snapshot.records(view, missing)
            self._bytes += sum(map(len, found.values())) + 150 * len(missing)
            known.update(dict.fromkeys(missing))
            known.update(found)
            records = [known[key] for key in keys]
            if self._bytes > self._limit:
                self._views, self._bytes = {}, 0
            return records
        return [known[key] for key in keys]


class FeatureRows(Protocol):
    """Opened rows of one view, one per distinct key: `packed.Rows`, or Arrow columns of another store."""

    event: np.ndarray

    def blank(self, where: np.ndarray) -> None: ...
    def nulls(self, name: str) -> np.ndarray | None: ...
    def numbers(self, name: str) -> np.ndarray: ...
    def array(self, name: str) -> pa.Array: ...


@dataclass
class ViewRows:
    """The rows that a request finds in one view, aligned with its keys.

    `rows` holds one row per distinct key, `index` maps the request's rows to them (None: one to one).
    """

    rows: FeatureRows
    index: np.ndarray | None
    found: np.ndarray
    expired: np.ndarray

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Give every row of the request its key's value."""
        return values if self.index is None else values[self.index]

    def array(self, name: str) -> pa.Array:
        """Return one feature, a row per key asked for; null where there is no row or it is too old."""
        column = self.rows.array(name)
        return column if self.index is None else column.take(pa.array(self.index))

    def numbers(self, name: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a number feature as stored, and the mask of its nulls (None: there are none)."""
        nulls = self.rows.nulls(name)
        return self.spread(self.rows.numbers(name)), None if nulls is None else self.spread(nulls)


def read_view(
    snapshot: Snapshot, cache: RecordCache, view: PackedView, keys: Sequence[Key | None], now: int
) -> ViewRows:
    """Read the rows of `keys`; a null key, an unknown one and one whose row is older than the ttl give nulls."""
    distinct_keys, index = distinct(keys)
    table = snapshot.catalogue.views.get(view.id)
    records: list[bytes | None] = [None] * len(distinct_keys)
    if table is not None and table.keys == view.keys:
        records = cache.records(snapshot, table, distinct_keys)
    found = np.fromiter(map(bool, records), bool, len(records))
    layout, blank = view.layout, view.layout.blank
    rows = Rows(layout, _of_one_schema([record or blank for record in records], layout, snapshot))
    return ViewRows(rows, index, found, too_old(rows, found, view.ttl, now))


def distinct(keys: Sequence[Key | None]) -> tuple[list[Key | None], np.ndarray | None]:
    """Return the distinct keys in order, and which of them each key is (None: all are distinct)."""
    only = dict.fromkeys(keys)
    if len(only) == len(keys):
        return list(keys), None
    place = dict(zip(only, range(len(only)), strict=True))
    return list(only), np.fromiter(map(place.__getitem__, keys), np.int64, len(keys))


def too_old(rows: FeatureRows, found: np.ndarray, ttl: int, now: int) -> np.ndarray:
    """Return the mask of rows beyond the ttl (0: none), and make their features null."""
    if not ttl:
        return np.zeros(len(found), bool)
    expired = found & (now - rows.event > ttl)
    if expired.any():
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
