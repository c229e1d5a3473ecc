"""What a request finds in one view: opened rows, aligned with its keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa

from feature_repo.on_demand.shared import Shared, Values
from feature_repo.stores.packed import Layout
from feature_repo.stores.packed_keys import Asked
from feature_repo.stores.packed_rows import Rows, adopt
from feature_repo.stores.packed_view import NEVER, PackedView


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

    def part(self, start: int, rows: int) -> ViewRows:
        """Return some of the request's rows."""
        index = np.arange(start, start + rows) if self.index is None else self.index[start : start + rows]
        return ViewRows(self.rows, index, self.expired)

    def shared(self, name: str) -> Shared:
        """Return one feature, each value once with a number for each row."""
        return Shared(self.rows.values(name), self.index)

    def array(self, name: str) -> pa.Array:
        """Return one feature, a row per key asked for; null where there is no row or it is too old."""
        if self.index is None:
            return self.rows.values(name).array
        if name not in self._arrays:
            self._arrays.update(self.rows.arrays_like(name, self.index))
        return self._arrays[name]

    def lists(self, name: str) -> pa.Array:
        """Return one feature as `array` does, lists that several rows share as a dictionary array, each list once."""
        if self.index is None or not pa.types.is_list(self.rows.layout.by_name[name].type):
            return self.array(name)
        return pa.DictionaryArray.from_arrays(pa.array(self.index.astype(np.int32)), self.rows.values(name).array)


def rows_of(view: PackedView, asked: Asked, records: list[bytes], now: int) -> ViewRows:
    """Open a record of the view's schema per distinct key."""
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


def of_one_schema(records: list[bytes], layout: Layout, layout_of: Callable[[int], Layout]) -> list[bytes]:
    """Rewrite the records of earlier schemas of the view, if there are any."""
    schemas = {record[16:24] for record in records}
    if len(schemas) == 1 and layout.schema in schemas:
        return records
    result = list(records)
    for schema in schemas - {layout.schema}:
        rows = [i for i, record in enumerate(records) if record[16:24] == schema]
        written_as = layout_of(int.from_bytes(schema, "little", signed=True))
        for i, record in zip(rows, adopt(layout, [records[i] for i in rows], written_as), strict=True):
            result[i] = record
    return result
