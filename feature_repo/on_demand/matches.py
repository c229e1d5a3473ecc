"""Matching lists of names row by row, and pooling what was matched, without a loop over rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from feature_repo.on_demand.lists import NumberedLists, code_width


@dataclass(frozen=True)
class Matches:
    """For every pair and every value of its right list, the equal value of its left list.

    `rows`: the pairs' lists of `right`; for each of their values `right` is its place in the right values, `left` the
    position of the equal one in the left values, -1 where the left list has none.
    """

    rows: Segments
    left: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, left: NumberedLists, right: NumberedLists) -> Self:
        """Match lists of names, row by row; lists that rows share are encoded and sorted once."""
        # By the vocabulary of the larger side: it may be one that was read, encoded and indexed before.
        if len(left.lists.values) >= len(right.lists.values):
            vocabulary, _ = left.lists.vocabulary
            right_codes = right.lists.codes_in(vocabulary)
            lookup = left.lists.own_lookup
        else:
            vocabulary, right_codes = right.lists.vocabulary
            lookup = left.lists.lookup(left.lists.codes_in(vocabulary), code_width(vocabulary))
        lengths = right.lists.lengths.take(right.row)
        rows = Segments.of(lengths)
        positions = np.repeat(right.lists.starts.take(right.row) - rows.starts, lengths)
        positions += np.arange(len(positions))
        wanted = np.repeat(left.row * code_width(vocabulary), lengths) + right_codes.take(positions)
        return cls(rows, lookup.find(wanted), positions)

    def taken(self, block: np.ndarray) -> np.ndarray:
        """Return the numbers of the left lists (names, values + 1; see `numbers_block`) that were matched."""
        return block.take(self.left, axis=1)


@dataclass(frozen=True)
class Segments:
    """Values of rows, one row's after the other's: where those of each begin, and how many they are.

    `full` are the rows that have values, `begins` where theirs begin.
    """

    starts: np.ndarray
    lengths: np.ndarray
    full: np.ndarray | slice
    begins: np.ndarray

    @classmethod
    def of(cls, lengths: np.ndarray) -> Self:
        starts = np.cumsum(lengths)
        starts -= lengths
        if lengths.all():
            return cls(starts, lengths, slice(None), starts)
        full = np.flatnonzero(lengths > 0)
        return cls(starts, lengths, full, starts.take(full))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of the values (..., values) by row, float64 (..., rows); 0 for a row without values."""
        return self._pooled(np.add, values)

    def greatest(self, values: np.ndarray) -> np.ndarray:
        """Return the greatest value by row; 0 for a row without values."""
        return self._pooled(np.maximum, values)

    def means(self, sums: np.ndarray) -> np.ndarray:
        """Turn sums by row into means."""
        return sums / np.maximum(self.lengths, 1)

    def _pooled(self, pool: np.ufunc, values: np.ndarray) -> np.ndarray:
        result = np.zeros((*values.shape[:-1], len(self.lengths)))
        if values.shape[-1]:
            result[..., self.full] = pool.reduceat(values, self.begins, axis=-1)
        return result
