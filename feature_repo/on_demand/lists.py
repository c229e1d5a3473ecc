"""List columns as offsets and values: lists that rows share, numbers in them, values looked up by list and code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.on_demand.columns import seconds
from feature_repo.on_demand.shared import Column, Shared

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RowLists:
    """One list per row: `starts` and `lengths` (int64, by row) into `values`. A null list has length 0."""

    starts: np.ndarray
    lengths: np.ndarray
    values: pa.Array

    @classmethod
    def of(cls, column: pa.ListArray) -> Self:
        """Read a list column, whatever slice of a larger one it is."""
        offsets = column.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
        lengths = np.diff(offsets)
        if column.null_count:
            null = column.is_null().to_numpy(zero_copy_only=False)
            if lengths[null].any():  # flatten() leaves out the values under null lists
                lengths[null] = 0
                return cls(np.cumsum(lengths) - lengths, lengths, column.flatten())
        first = int(offsets[0])
        return cls(offsets[:-1] - first, lengths, column.values.slice(first, int(offsets[-1]) - first))

    @cached_property
    def rows(self) -> np.ndarray:
        """The row of every value."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @cached_property
    def longest(self) -> int:
        return int(self.lengths.max(initial=0))

    @cached_property
    def vocabulary(self) -> tuple[pa.Array, np.ndarray]:
        """The distinct values, and int64 codes of all values: positions there, behind the last one for a null."""
        coded = self.values.dictionary_encode()
        codes = pc.fill_null(coded.indices, len(coded.dictionary)).to_numpy(zero_copy_only=False)
        return coded.dictionary, codes.astype(np.int64)

    def codes_in(self, vocabulary: pa.Array) -> np.ndarray:
        """Return codes of the values by another vocabulary; one that it does not have is 1 behind the null."""
        unknown = len(vocabulary) + 1
        codes = pc.fill_null(pc.index_in(self.values, value_set=vocabulary), unknown).to_numpy(zero_copy_only=False)
        codes = codes.astype(np.int64)
        if self.values.null_count:
            codes[self.values.is_null().to_numpy(zero_copy_only=False)] = len(vocabulary)
        return codes

    def lookup(self, codes: np.ndarray, width: int) -> Lookup:
        """Index the values by list and code, of which there are `width`."""
        return Lookup.of(self.rows * width + codes, len(self.lengths) * width)

    @cached_property
    def own_lookup(self) -> Lookup:
        """`lookup` by the own vocabulary."""
        vocabulary, codes = self.vocabulary
        return self.lookup(codes, code_width(vocabulary))


def code_width(vocabulary: pa.Array) -> int:
    """Return how many codes there are: one per value, one for a null, one for a value that is not there."""
    return len(vocabulary) + 2


# Keys are looked up in a table where so many cells hold them all: some ten times as fast as searching them.
TABLE_CELLS: Final = 1 << 22


@dataclass(frozen=True)
class Lookup:
    """Where a key first stands: in a table by key, or, where that were too large, by search in the sorted keys."""

    table: np.ndarray | None
    keys: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, keys: np.ndarray, cells: int) -> Self:
        """Index keys (int64, below `cells`) by their positions."""
        if cells > TABLE_CELLS:
            order = np.argsort(keys, kind="stable")
            return cls(None, keys[order], order)
        table = np.full(cells, -1, np.int32)
        table[keys[::-1]] = np.arange(len(keys) - 1, -1, -1)  # of equal keys the last one written stays: the first
        return cls(table, keys[:0], keys[:0])

    def find(self, wanted: np.ndarray) -> np.ndarray:
        """Return the position of each key, -1 for one that is not there."""
        if self.table is not None:
            return self.table.take(wanted)
        if not len(self.keys):
            return np.full(len(wanted), -1, np.int64)
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[place] == wanted, self.order[place], -1)


@dataclass(frozen=True)
class NumberedLists:
    """Lists that rows share: `row` (int64, by row) numbers `lists`; a null is an empty list."""

    row: np.ndarray
    lists: RowLists

    @classmethod
    def of(cls, column: Column) -> Self:
        """Read a list column."""
        if isinstance(column, Shared):
            return cls(column.numbers, column.values.made(RowLists, RowLists.of))
        return cls(np.arange(len(column)), RowLists.of(column))

    @property
    def sizes(self) -> np.ndarray:
        """The length of each row's list."""
        return self.lists.lengths.take(self.row)


def elements(column: Column) -> pa.Array:
    """Return the values of a list column's lists, one list after the other."""
    return column.values.array.flatten() if isinstance(column, Shared) else column.flatten()


def derived_lists(column: Column, make: Callable[[pa.Array], np.ndarray]) -> np.ndarray:
    """Return what a function makes of a column's lists, each of them once."""
    return column.values.made(make, make) if isinstance(column, Shared) else make(column)


def numbers_in(column: Column) -> np.ndarray:
    """Return the values of a list column's lists as float64, NaN for null; times as seconds."""
    return derived_lists(column, _numbers_in)


def numbers_block(columns: Mapping[str, Column], names: Sequence[str], missing: float = 0.0) -> np.ndarray:
    """Return the values of parallel list columns as float64 (names, values + 1): `missing` for NaN and at the end.

    The end is where -1 leads: what a value that is not there has. Times are seconds.
    """
    chosen = [columns[name] for name in names]
    shared = [column.values.array for column in chosen if isinstance(column, Shared)]
    if len(shared) < len(chosen):
        return _block([numbers_in(column) for column in chosen], missing)
    # Kept with the first column's values: those of the others were read with them.
    what = (numbers_block, *names, missing)
    return chosen[0].values.made(what, lambda _: _block([_numbers_in(lists) for lists in shared], missing))


def _block(numbers: Sequence[np.ndarray], missing: float) -> np.ndarray:
    block = np.empty((len(numbers), len(numbers[0]) + 1))
    block[:, :-1] = numbers
    block[:, -1] = missing
    if not np.isnan(missing):
        block[np.isnan(block)] = missing
    return block


def _numbers_in(column: pa.ListArray) -> np.ndarray:
    values = column.flatten()
    if pa.types.is_timestamp(values.type):
        return seconds(values)
    return values.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)


def begins(values: np.ndarray) -> np.ndarray:
    """Return where a value differs from the one before it (bool); the first one does."""
    result = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=result[1:])
    return result


def padded(values: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
    """Lay lists out as (lists, width), zeros behind the shorter ones; `values` holds them one after the other."""
    if len(values) == width * len(lengths):
        return values.reshape(len(lengths), width)
    result = np.zeros((len(lengths), width), values.dtype)
    result[np.arange(width) < lengths[:, None]] = values
    return result


# Whole-number ids are looked up by value where so many numbers hold them all: some 20 times as fast as hashing them.
_LOOKED_UP: Final = 1 << 22


@dataclass(frozen=True)
class Codes:
    """Distinct values, indexed once: by a table of the whole numbers from `low` on, else by hashes.

    >>> Codes.of(pa.array(["b", "a"])).find(pa.array(["a", "c", "b"])).tolist()
    [2, 0, 1]
    """

    low: int
    table: np.ndarray | None
    hashed: pd.Index | None
    size: int

    @classmethod
    def of(cls, vocabulary: pa.Array) -> Self:
        known = vocabulary.to_numpy(zero_copy_only=False)
        if pa.types.is_integer(vocabulary.type) and len(known):
            low, high = int(known.min()), int(known.max())
            if high - low < _LOOKED_UP:
                table = np.zeros(high - low + 2, np.int32)
                table[known - low] = np.arange(1, len(known) + 1)
                return cls(low, table, None, len(known))
        import pandas as pd

        return cls(0, None, pd.Index(known), len(known))

    def find(self, values: pa.Array) -> np.ndarray:
        """Return the position of each value, from 1, as int32; 0 for one that is not there and for a null."""
        missing = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None
        given = (values.drop_null() if values.null_count else values).to_numpy(zero_copy_only=False)
        found = self._found(given)
        if missing is None:
            return found
        result = np.zeros(len(values), np.int32)
        result[~missing] = found
        return result

    def _found(self, given: np.ndarray) -> np.ndarray:
        if self.table is None:
            return self.hashed.get_indexer(given).astype(np.int32) + np.int32(1)
        # Unsigned, what lies below is far above.
        distance = given.astype(np.int64, copy=False).view(np.uint64) - np.int64(self.low).view(np.uint64)
        return self.table[np.minimum(distance, np.uint64(len(self.table) - 1)).view(np.int64)]


def shared_codes(left: pa.Array, right: pa.Array) -> tuple[np.ndarray, np.ndarray, int]:
    """Return int64 codes of two arrays of names in one vocabulary, and its size."""
    joined = pa.concat_arrays([left, right]).dictionary_encode()
    codes = pc.fill_null(joined.indices, len(joined.dictionary)).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes[: len(left)], codes[len(left) :], len(joined.dictionary) + 1
