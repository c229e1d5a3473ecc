"""List columns as offsets and values: matching and pooling without a loop over rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.on_demand.shared import Column, Shared


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

    def ordered(self, codes: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return list * `width` + code of every value, ascending, and the positions of the values in that order."""
        keys = self.rows * width + codes
        order = np.argsort(keys, kind="stable")
        return keys[order], order

    @cached_property
    def own_order(self) -> tuple[np.ndarray, np.ndarray]:
        """`ordered` by the own vocabulary."""
        vocabulary, codes = self.vocabulary
        return self.ordered(codes, code_width(vocabulary))


def code_width(vocabulary: pa.Array) -> int:
    """Return how many codes there are: one per value, one for a null, one for a value that is not there."""
    return len(vocabulary) + 2


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
    def longest(self) -> int:
        return self.lists.longest


def elements(column: Column) -> pa.Array:
    """Return the values of a list column's lists, one list after the other."""
    return column.values.array.flatten() if isinstance(column, Shared) else column.flatten()


def derived_lists(column: Column, make: Callable[[pa.Array], np.ndarray]) -> np.ndarray:
    """Return what a function makes of a column's lists, each of them once."""
    return column.values.made(make, make) if isinstance(column, Shared) else make(column)


def numbers_in(column: Column) -> np.ndarray:
    """Return the values of a list column's lists as float64, NaN for null."""
    return derived_lists(column, _numbers_in)


def _numbers_in(column: pa.ListArray) -> np.ndarray:
    return column.flatten().to_numpy(zero_copy_only=False).astype(np.float64)


def padded(values: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
    """Lay lists out as (lists, width), zeros behind the shorter ones; `values` holds them one after the other."""
    if len(values) == width * len(lengths):
        return values.reshape(len(lengths), width)
    result = np.zeros((len(lengths), width), values.dtype)
    result[np.arange(width) < lengths[:, None]] = values
    return result


# Whole-number ids are looked up by value where so many numbers hold them all: some 20 times as fast as hashing them.
_LOOKED_UP: Final = 1 << 22


def codes_in(values: pa.Array, vocabulary: pa.Array) -> np.ndarray:
    """Return the position of each value in a distinct vocabulary, from 1, as int32; 0 for one that is not there."""
    if pa.types.is_integer(vocabulary.type) and len(vocabulary) and not values.null_count:
        known = vocabulary.to_numpy(zero_copy_only=False)
        low, high = int(known.min()), int(known.max())
        if high - low < _LOOKED_UP:
            place = np.zeros(high - low + 2, np.int32)
            place[known - low] = np.arange(1, len(known) + 1)
            # Unsigned, what lies below is far above.
            distance = values.to_numpy(zero_copy_only=False).astype(np.int64, copy=False).view(np.uint64)
            distance = np.minimum(distance - np.int64(low).view(np.uint64), np.uint64(high - low + 1))
            return place[distance.view(np.int64)]
    return pc.fill_null(pc.index_in(values, value_set=vocabulary), -1).to_numpy(zero_copy_only=False) + np.int32(1)


def shared_codes(left: pa.Array, right: pa.Array) -> tuple[np.ndarray, np.ndarray, int]:
    """Return int64 codes of two arrays of names in one vocabulary, and its size."""
    joined = pa.concat_arrays([left, right]).dictionary_encode()
    codes = pc.fill_null(joined.indices, len(joined.dictionary)).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes[: len(left)], codes[len(left) :], len(joined.dictionary) + 1


@dataclass(frozen=True)
class Matches:
    """For every pair and every value of its right list, the equal value of its left list.

    `rows`: the pairs' lists of `right`, positions in the right values; `left`: positions in the left values, -1 where
    the left list has no such value; `owner`: the pair of each. All int64.
    """

    rows: Segments
    left: np.ndarray
    right: np.ndarray
    owner: np.ndarray

    @classmethod
    def of(cls, left: NumberedLists, right: NumberedLists) -> Self:
        """Match lists of names, row by row; lists that rows share are encoded and sorted once."""
        # By the vocabulary of the larger side: it may be one that was read, encoded and sorted before.
        if len(left.lists.values) >= len(right.lists.values):
            vocabulary, _ = left.lists.vocabulary
            right_codes = right.lists.codes_in(vocabulary)
            keys, order = left.lists.own_order
        else:
            vocabulary, right_codes = right.lists.vocabulary
            keys, order = left.lists.ordered(left.lists.codes_in(vocabulary), code_width(vocabulary))
        lengths = right.lists.lengths[right.row]
        rows = Segments.of(lengths)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        positions = np.repeat(right.lists.starts[right.row] - rows.starts, lengths) + np.arange(len(owner))
        found = np.full(len(owner), -1, np.int64)
        if len(keys) and len(owner):
            wanted = left.row[owner] * code_width(vocabulary) + right_codes[positions]
            place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            found = np.where(keys[place] == wanted, order[place], -1)
        return cls(rows, found, positions, owner)

    def taken(self, numbers: np.ndarray, missing: float = 0.0) -> np.ndarray:
        """Return the left numbers that were matched; `missing` for NaN and where there is no match."""
        if not len(numbers):
            return np.full(len(self.left), missing)
        result = numbers[self.left]
        result[(self.left < 0) | np.isnan(result)] = missing
        return result


@dataclass(frozen=True)
class Segments:
    """Values of rows, one row's after the other's: where those of each begin, and how many they are."""

    starts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, lengths: np.ndarray) -> Self:
        return cls(np.cumsum(lengths) - lengths, lengths)

    @cached_property
    def full(self) -> np.ndarray | slice:
        """The rows that have values."""
        full = self.lengths > 0
        return slice(None) if full.all() else np.flatnonzero(full)

    @cached_property
    def _begins(self) -> np.ndarray:
        return self.starts[self.full]

    @cached_property
    def _sizes(self) -> np.ndarray:
        return np.maximum(self.lengths, 1)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of the values (..., values) by row, float64 (..., rows); 0 for a row without values."""
        return self._pooled(np.add, values)

    def greatest(self, values: np.ndarray) -> np.ndarray:
        """Return the greatest value by row; 0 for a row without values."""
        return self._pooled(np.maximum, values)

    def means(self, sums: np.ndarray) -> np.ndarray:
        """Turn sums by row into means."""
        return sums / self._sizes

    def _pooled(self, pool: np.ufunc, values: np.ndarray) -> np.ndarray:
        result = np.zeros((*values.shape[:-1], len(self.lengths)))
        if values.shape[-1]:
            result[..., self.full] = pool.reduceat(values, self._begins, axis=-1)
        return result


def pooled(values: np.ndarray, rows: Segments) -> Mapping[str, np.ndarray]:
    """Return max, mean and sum of the values by row (float64); 0 for a row without values."""
    total = rows.sums(values)
    return {"max": rows.greatest(values), "mean": rows.means(total), "sum": total}
