"""Where a score stands among the user's candidates: raw scores move at every refit, standings are comparable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Groups:
    """Rows sorted by group: `row` int64 group number of every row, groups numbered from 0 and below `count`."""

    row: np.ndarray
    count: int

    @property
    def sizes(self) -> np.ndarray:
        return np.bincount(self.row, minlength=self.count)

    def places(self) -> np.ndarray:
        """Return the position of every row in its group, from 0."""
        sizes = self.sizes
        return np.arange(len(self.row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def zscore(scores: np.ndarray, groups: Groups) -> np.ndarray:
    """Return (score - mean) / standard deviation within the group, float32; 0 where all are equal, NaN stays NaN."""
    known = ~np.isnan(scores)
    values, row = scores[known].astype(np.float64), groups.row[known]
    size = np.maximum(np.bincount(row, minlength=groups.count), 1)
    centred = values - (np.bincount(row, values, minlength=groups.count) / size)[row]
    spread = np.sqrt(np.bincount(row, centred**2, minlength=groups.count) / size)[row]
    # What rounding leaves of equal scores is no spread.
    flat = spread <= 1e-6 * np.abs(values)
    result = np.full(len(scores), np.nan, np.float32)
    result[known] = np.where(flat, 0.0, centred / np.where(flat, 1.0, spread))
    return result


def percentile(scores: np.ndarray, groups: Groups, places: np.ndarray) -> np.ndarray:
    """Return the share of the group's scores below each score, equals counted half: float32 in (0, 1), NaN stays NaN.

    `places`: `groups.places()`. One scored row alone stands at 0.5.
    """
    width = int(places.max(initial=-1)) + 1
    if width == 0:
        return np.empty(0, np.float32)
    table = np.full((groups.count, width), np.nan, np.float32)
    table[groups.row, places] = scores
    order = np.argsort(table, axis=1)
    ordered = np.take_along_axis(table, order, axis=1)
    first, last = _runs(ordered)
    size = np.maximum(np.count_nonzero(~np.isnan(table), axis=1), 1)[:, None]
    share = ((first + last + 1) / (2 * size)).astype(np.float32)
    standing = np.empty_like(table)
    np.put_along_axis(standing, order, share, axis=1)
    return np.where(np.isnan(scores), np.float32(np.nan), standing[groups.row, places])


def _runs(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last column of the run of equal values around each cell of sorted rows, int32."""
    columns = np.arange(ordered.shape[1], dtype=np.int32)
    starts = np.ones(ordered.shape, bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ends = np.ones(ordered.shape, bool)
    ends[:, :-1] = starts[:, 1:]
    first = np.maximum.accumulate(np.where(starts, columns, 0), axis=1)
    beyond = np.where(ends, columns, columns[-1])
    last = np.minimum.accumulate(beyond[:, ::-1], axis=1)[:, ::-1]
    return first, last
