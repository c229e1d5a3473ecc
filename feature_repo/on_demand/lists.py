"""List columns as offsets and values: matching and pooling without a loop over rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

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
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        # flatten() leaves out the values under null lists, so starts follow from the lengths.
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(lengths) else lengths
        return cls(starts, lengths, column.flatten())

    @property
    def rows(self) -> np.ndarray:
        """The row of every value."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


@dataclass(frozen=True)
class NumberedLists:
    """Lists that rows share: `row` (int64, by row) numbers `lists`; a null is the number of an empty list."""

    row: np.ndarray
    lists: RowLists

    @classmethod
    def of(cls, column: pa.Array) -> Self:
        """Read a list column, or a dictionary array of lists, of which only those that a row names are kept."""
        if not pa.types.is_dictionary(column.type):
            return cls(np.arange(len(column)), RowLists.of(column))
        size = len(column.dictionary)
        wanted = pc.fill_null(column.indices, size).to_numpy(zero_copy_only=False)
        used = np.zeros(size + 1, bool)
        used[wanted] = True
        kept = np.flatnonzero(used[:size])
        lists = RowLists.of(column.dictionary.take(pa.array(kept)))
        if used[size]:
            lists = RowLists(np.append(lists.starts, 0), np.append(lists.lengths, 0), lists.values)
        return cls((np.cumsum(used) - 1)[wanted], lists)

    def table(self, values: np.ndarray, width: int) -> np.ndarray:
        """Lay `values`, one per element of the lists, out as (lists, width), zeros behind the shorter ones."""
        result = np.zeros((len(self.lists.lengths), width), values.dtype)
        result[np.arange(width) < self.lists.lengths[:, None]] = values
        return result


def shared_codes(left: pa.Array, right: pa.Array) -> tuple[np.ndarray, np.ndarray, int]:
    """Return int64 codes of two arrays of names in one vocabulary, and its size."""
    joined = pa.concat_arrays([left, right]).dictionary_encode()
    codes = pc.fill_null(joined.indices, len(joined.dictionary)).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes[: len(left)], codes[len(left) :], len(joined.dictionary) + 1


def match_positions(
    left: RowLists, left_codes: np.ndarray, right: RowLists, right_codes: np.ndarray, width: int
) -> np.ndarray:
    """Return for every value of `right` the position of its equal in the same row of `left`, -1 where there is none."""
    if not len(left_codes):
        return np.full(len(right_codes), -1, np.int64)
    keys = left.rows * width + left_codes
    order = np.argsort(keys, kind="stable")
    wanted = right.rows * width + right_codes
    place = np.minimum(np.searchsorted(keys[order], wanted), len(order) - 1)
    found = order[place]
    return np.where(keys[found] == wanted, found, -1)


def pooled(values: np.ndarray, lists: RowLists) -> dict[str, np.ndarray]:
    """Return max, mean and sum of the values by row (float64); 0 for a row without values."""
    count = len(lists.lengths)
    full = lists.lengths > 0
    total, best = np.zeros(count), np.zeros(count)
    if len(values):
        total[full] = np.add.reduceat(values, lists.starts[full])
        best[full] = np.maximum.reduceat(values, lists.starts[full])
    return {"max": best, "mean": total / np.maximum(lists.lengths, 1), "sum": total}
