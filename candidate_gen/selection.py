"""The best columns of every row of a score matrix: how every source's proposals are chosen."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from candidate_gen.sort_keys import ascending_bits, index_of, sorted_rows, used

# Rows are searched in blocks of so many scores: they stay in the cache, and memory is used again.
_BLOCK_CELLS: Final = 1 << 19
# So many groups of columns per wanted one: then hardly more columns pass the bound than are wanted.
_GROUPS: Final = 4

Cells = tuple[np.ndarray, np.ndarray]


class Top(NamedTuple):
    """The best columns of every row, rows ascending and best first: int64 row and item, int32 rank from 1."""

    row: np.ndarray
    item: np.ndarray
    rank: np.ndarray


def best(scores: np.ndarray, n: int, *, floor: float = -math.inf, excluded: Cells | None = None) -> Top:
    """Return up to n best columns per row of float32 `scores` (rows, items); ties go to the smaller column.

    NaN, values at or below `floor` and the `excluded` (row, item) positions are left out, so rows differ in length.

    >>> best(np.array([[1, 3, 3, 2]], np.float32), 2).item.tolist()
    [1, 2]
    """
    rows, width = scores.shape
    if not rows or not width:
        return Top(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32))
    left_out = _by_row(excluded, rows) if excluded is not None else None
    n = min(n, width)
    size = max(1, width // (_GROUPS * n))
    groups = -(-width // size)
    step = max(1, _BLOCK_CELLS // (size * groups))
    # One buffer for all blocks; what lies beyond the width is never chosen.
    buffer = np.full((min(step, rows), size * groups), np.nan, np.float32)
    parts = []
    for start in range(0, rows, step):
        block = buffer[: min(step, rows - start)]
        block[:, :width] = scores[start : start + step]
        if left_out is not None:
            inside = slice(left_out.bounds[start], left_out.bounds[start + len(block)])
            block[left_out.row[inside] - start, left_out.item[inside]] = np.nan
        parts.append(_best_block(block, n, size, floor, start))
    return Top(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class _Cells(NamedTuple):
    """Cells of a matrix in order of their rows; those of row r lie from `bounds[r]` to `bounds[r + 1]`."""

    row: np.ndarray
    item: np.ndarray
    bounds: np.ndarray


def _by_row(cells: Cells, rows: int) -> _Cells:
    row, item = cells
    if (row[1:] < row[:-1]).any():
        order = np.argsort(row, kind="stable")
        row, item = row[order], item[order]
    return _Cells(row, item, np.searchsorted(row, np.arange(rows + 1)))


def _best_block(block: np.ndarray, n: int, size: int, floor: float, first: int) -> Top:
    """The n greatest values per row of a block whose first row has the number `first`."""
    rows, width = block.shape
    cells = np.flatnonzero(block >= _bound(block, n, size, floor)[:, None])
    row, item = np.divmod(cells, width)
    counts = np.bincount(row, minlength=rows)
    most = int(counts.max())
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    bits = ascending_bits(-block.ravel()[cells])
    ordered = sorted_rows(bits, item.astype(np.uint32), row * most + place, (rows, most))[:, :n]
    row, place = np.nonzero(used(ordered))
    return Top(row + first, index_of(ordered[row, place]), (place + 1).astype(np.int32))


def _bound(block: np.ndarray, n: int, size: int, floor: float) -> np.ndarray:
    """Return a value per row that its n best columns reach, above `floor`, float32.

    The n-th greatest of the maxima of groups of `size` columns: n columns reach it, and few more do.
    """
    rows, width = block.shape
    maxima = np.fmax.reduce(block.reshape(rows, size, width // size), axis=1)  # fmax passes over NaN
    np.negative(maxima, out=maxima)  # ascending order puts the greatest first and NaN last
    nth = -np.partition(maxima, n - 1, axis=1)[:, n - 1]
    least = np.nextafter(np.float32(floor), np.float32(np.inf))
    return np.fmax(nth, least)
