"""`running_totals`: what the rows of a view's `steps` add up to, key by key, over time.

A windowed sum takes the engine some tenth of a microsecond per value, an addition to the one before it a hundredth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from feature_repo.building.rows import one_piece, starts
from feature_repo.building.sql_types import WHOLE_NUMBERS, quoted
from feature_repo.columns import TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb
    from duckdb.sqltypes import DuckDBPyType

STEPS: Final = "steps"
RUNNING: Final = "running_totals"
FIRST: Final = "first_"
LAST: Final = "last_"
_LIMBS: Final = np.dtype([("low", "<u8"), ("high", "<i8")])
_HALF: Final = np.uint64(32)
_LOW_HALF: Final = np.uint64(0xFFFFFFFF)


def create_running_totals(connection: duckdb.DuckDBPyConnection) -> None:
    """Register the relation `running_totals` of the view `steps`.

    Columns before event_timestamp are keys. Of those after it `first_...` and `last_...` become the key's first and its
    latest value so far that is not null, and numbers become exact sums of all so far, null where all were.
    Raises ValueError for a column that is none of these.
    """
    steps = connection.sql(f"FROM {STEPS}")
    keys = steps.columns[: steps.columns.index(TIME)]
    columns = [_exact(name, kind) for name, kind in zip(steps.columns, steps.types, strict=True)]
    order = ", ".join(quoted(name) for name in (*keys, TIME))
    table = connection.sql(f"SELECT {', '.join(columns)} FROM {STEPS} ORDER BY {order}").to_arrow_table()
    connection.register(RUNNING, running_totals(table, keys))


def _exact(name: str, kind: DuckDBPyType) -> str:
    if kind.id in WHOLE_NUMBERS:
        return f"CAST({quoted(name)} AS BIGINT) AS {quoted(name)}"
    return quoted(name)


def running_totals(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """Return the totals of steps that are sorted by keys and time."""
    spans = _Spans(table, keys)
    columns = {}
    for name in table.column_names:
        column = one_piece(table[name])
        columns[name] = column if name in (*keys, TIME) else spans.total(name, column)
    return pa.table(columns)


class _Spans:
    """The rows of each key, which lie together."""

    def __init__(self, table: pa.Table, keys: Sequence[str]) -> None:
        self._rows = np.arange(table.num_rows)
        self._starts = np.flatnonzero(starts(table, keys, self._rows))
        self._lengths = np.diff(self._starts, append=table.num_rows)
        self._first = np.repeat(self._starts, self._lengths)

    def total(self, name: str, column: pa.Array) -> pa.Array:
        if name.startswith(FIRST):
            return self._first_known(column)
        if name.startswith(LAST):
            return self._last_known(column)
        if pa.types.is_decimal128(column.type):
            return self._decimal_sums(column)
        if pa.types.is_int64(column.type):
            sums = self._sums(column.fill_null(0).to_numpy())
            return pa.array(sums, mask=self._unknown(column))
        raise ValueError(f"{STEPS}.{name} is {column.type}: whole numbers and DECIMAL have exact sums")

    def _sums(self, values: np.ndarray) -> np.ndarray:
        """Return sums within each key; what overflows on the way comes back with the difference."""
        sums = np.cumsum(values)
        sums -= np.repeat(sums[self._starts] - values[self._starts], self._lengths)
        return sums

    def _decimal_sums(self, column: pa.Array) -> pa.Array:
        _, data = column.buffers()
        values = np.frombuffer(data, _LIMBS)[column.offset : column.offset + len(column)]
        known = column.is_valid().to_numpy(zero_copy_only=False) if column.null_count else True
        low, high = np.where(known, values["low"], 0), np.where(known, values["high"], 0)
        sums = np.empty(len(column), _LIMBS)
        if _is_small(low, high):
            sums["low"] = self._sums(low)
            sums["high"] = sums["low"].view(np.int64) >> 63
        else:
            self._add_limbs(low, high, sums)
        unknown = self._unknown(column)
        bits = pa.array(~unknown).buffers()[1] if unknown.any() else None
        return pa.Array.from_buffers(column.type, len(column), [bits, pa.py_buffer(sums)])

    def _add_limbs(self, low: np.ndarray, high: np.ndarray, sums: np.ndarray) -> None:
        """Add 128-bit integers by parts of 32, 32 and 64 bits, and carry in the end."""
        first = self._sums(low & _LOW_HALF)
        second = self._sums(low >> _HALF) + (first >> _HALF)
        sums["low"] = (first & _LOW_HALF) | (second << _HALF)
        sums["high"] = self._sums(high) + (second >> _HALF).astype(np.int64)

    def _unknown(self, column: pa.Array) -> np.ndarray:
        """Return the rows up to which a key had nothing but nulls."""
        if not column.null_count:
            return np.zeros(len(column), bool)
        return self._latest(column) < self._first

    def _latest(self, column: pa.Array) -> np.ndarray:
        """Return the place of the latest value that is not null, be it one of an earlier key; -1 without one."""
        known = column.is_valid().to_numpy(zero_copy_only=False)
        return np.maximum.accumulate(np.where(known, self._rows, -1))

    def _last_known(self, column: pa.Array) -> pa.Array:
        if not column.null_count:
            return column
        latest = self._latest(column)
        return column.take(pa.array(latest, mask=latest < self._first))

    def _first_known(self, column: pa.Array) -> pa.Array:
        if not len(column):
            return column
        known = column.is_valid().to_numpy(zero_copy_only=False)
        places = np.minimum.reduceat(np.where(known, self._rows, len(column)), self._starts)
        first = np.repeat(places, self._lengths)
        return column.take(pa.array(first, mask=first > self._rows))


def _is_small(low: np.ndarray, high: np.ndarray) -> bool:
    """Return whether 128-bit integers, all added up, fit into 64 bits."""
    signed = low.view(np.int64)
    bound = (1 << 62) // max(len(low), 1)
    return bool((high == signed >> 63).all() and signed.max(initial=0) < bound and signed.min(initial=0) > -bound)
