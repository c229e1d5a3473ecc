"""List columns as offsets and values: matching and pooling without a loop over rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


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

    @property
    def rows(self) -> np.ndarray:
        """The row of every value."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


@dataclass(frozen=True)
class NumberedLists:
    """Lists that rows share: `row` (int64, by row) numbers `lists`; a null is the number of an empty list.

    `kept`: which lists of a dictionary array these are, None for all.
    """

    row: np.ndarray
    lists: RowLists
    kept: np.ndarray | None = None

    @classmethod
    def of(cls, column: pa.Array) -> Self:
        """Read a list column, or a dictionary array of lists, of which only those that a row names are kept."""
        if not pa.types.is_dictionary(column.type):
            return cls(np.arange(len(column)), RowLists.of(column))
        size, indices = len(column.dictionary), column.indices
        wanted = (pc.fill_null(indices, size) if indices.null_count else indices).to_numpy(zero_copy_only=False)
        used = np.zeros(size + 1, bool)
        used[wanted] = True
        kept = None if used[:size].all() else np.flatnonzero(used[:size])
        lists = RowLists.of(column.dictionary if kept is None else column.dictionary.take(pa.array(kept)))
        if used[size]:
            lists = RowLists(np.append(lists.starts, 0), np.append(lists.lengths, 0), lists.values)
        return cls((np.cumsum(used) - 1)[wanted], lists, kept)

    def beside(self, column: pa.Array) -> pa.Array:
        """Return the values of another list column of the same view: element by element those beside the values."""
        if pa.types.is_dictionary(column.type):
            column = column.dictionary if self.kept is None else column.dictionary.take(pa.array(self.kept))
        return column.flatten()

    @property
    def longest(self) -> int:
        return int(self.lists.lengths.max(initial=0))


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

    `rows`: the pairs' lists, which hold positions in the right values; `left`: positions in the left values (int64),
    -1 where the left list has no such value; `owner`: the pair of each.
    """

    rows: RowLists
    left: np.ndarray
    owner: np.ndarray

    @classmethod
    def of(cls, left: NumberedLists, right: NumberedLists) -> Self:
        """Match lists of names, row by row; lists that rows share are encoded and sorted once."""
        left_codes, right_codes, width = shared_codes(left.lists.values, right.lists.values)
        lengths = right.lists.lengths[right.row]
        starts = np.cumsum(lengths) - lengths
        owner = np.repeat(np.arange(len(lengths)), lengths)
        right_positions = np.repeat(right.lists.starts[right.row] - starts, lengths) + np.arange(len(owner))
        keys = left.lists.rows * width + left_codes
        order = np.argsort(keys, kind="stable")
        wanted = left.row[owner] * width + right_codes[right_positions]
        found = np.full(len(owner), -1, np.int64)
        if len(keys) and len(wanted):
            place = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(order) - 1)]
            found = np.where(keys[place] == wanted, place, -1)
        return cls(RowLists(starts, lengths, pa.array(right_positions)), found, owner)

    @property
    def right(self) -> np.ndarray:
        return self.rows.values.to_numpy()

    def taken(self, values: pa.Array, missing: float = 0.0) -> np.ndarray:
        """Return the left values that were matched, as float64; `missing` for a null and where there is no match."""
        numbers = np.full(len(values) + 1, missing)
        numbers[:-1] = values.to_numpy(zero_copy_only=False)
        numbers[np.isnan(numbers)] = missing
        return numbers[self.left]


def pooled(values: np.ndarray, lists: RowLists) -> dict[str, np.ndarray]:
    """Return max, mean and sum of the values by row (float64); 0 for a row without values."""
    count = len(lists.lengths)
    full = lists.lengths > 0
    total, best = np.zeros(count), np.zeros(count)
    if len(values):
        total[full] = np.add.reduceat(values, lists.starts[full])
        best[full] = np.maximum.reduceat(values, lists.starts[full])
    return {"max": best, "mean": total / np.maximum(lists.lengths, 1), "sum": total}
