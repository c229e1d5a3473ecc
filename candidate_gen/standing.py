"""Where a score stands among the user's candidates: raw scores move at every refit, standings are comparable."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from candidate_gen.sort_keys import NAN_BITS, ascending_bits, bits_of, index_of, sorted_rows


@dataclass(frozen=True)
class Groups:
    """Rows sorted by group: `row` int64 group number of every row, groups numbered from 0 and below `count`."""

    row: np.ndarray
    count: int

    @cached_property
    def sizes(self) -> np.ndarray:
        return np.bincount(self.row, minlength=self.count)

    @cached_property
    def starts(self) -> np.ndarray:
        """The number of the first row of every row's group."""
        return np.repeat(np.cumsum(self.sizes) - self.sizes, self.sizes)

    @cached_property
    def places(self) -> np.ndarray:
        """The position of every row in its group, from 0."""
        return np.arange(len(self.row)) - self.starts

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Of a table with a line per group and a column per place."""
        return self.count, int(self.sizes.max(initial=0))

    @cached_property
    def cells(self) -> np.ndarray:
        """The flat position of every row in such a table."""
        return self.row * self.shape[1] + self.places


def zscore(scores: np.ndarray, groups: Groups) -> np.ndarray:
    """Return (score - mean) / standard deviation within the group, float32; 0 where all are equal, NaN stays NaN."""
    known = ~np.isnan(scores)
    if not known.all():
        result = np.full(len(scores), np.nan, np.float32)
        result[known] = zscore(scores[known], Groups(groups.row[known], groups.count))
        return result
    values, size = scores.astype(np.float64), np.maximum(groups.sizes, 1)
    mean = np.bincount(groups.row, values, minlength=groups.count) / size
    centred = values - np.repeat(mean, groups.sizes)
    variance = np.bincount(groups.row, centred**2, minlength=groups.count) / size
    spread = np.repeat(np.sqrt(variance), groups.sizes)
    # What rounding leaves of equal scores is no spread.
    spread[spread <= 1e-6 * np.abs(values)] = np.inf
    return (centred / spread).astype(np.float32)


def percentile(scores: np.ndarray, groups: Groups) -> np.ndarray:
    """Return the share of the group's scores below each score, equals counted half: float32 in (0, 1), NaN stays NaN.

    One scored row alone stands at 0.5.
    """
    if not len(scores):
        return np.empty(0, np.float32)
    place = groups.places.astype(np.uint32)
    # Group by group the ordered keys lie where the rows did.
    keys = sorted_rows(ascending_bits(scores), place, groups.cells, groups.shape).ravel()[groups.cells]
    bits = bits_of(keys)
    begins = np.ones(len(keys), bool)
    begins[1:] = (bits[1:] != bits[:-1]) | (groups.row[1:] != groups.row[:-1])
    first = np.flatnonzero(begins)
    equals = np.diff(np.append(first, len(keys)))
    scored = groups.sizes - np.bincount(groups.row[bits == NAN_BITS], minlength=groups.count)
    below = groups.places[first] + equals / 2
    share = below / np.maximum(scored, 1)[groups.row[first]]
    share[bits[first] == NAN_BITS] = np.nan
    result = np.empty(len(scores), np.float32)
    result[groups.starts + index_of(keys)] = np.repeat(share.astype(np.float32), equals)
    return result
