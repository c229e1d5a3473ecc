"""Products of sparse matrices in blocks of rows, cut to the best entries of every row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from scipy import sparse

from candidate_gen.selection import best

# Multiplications per block; a product never has more entries than that. The allocator keeps arrays of this size.
BLOCK_WORK: Final = 4_000_000
# A multiplication of two sparse sides costs as much as so many with a dense right side, by bytes of a number.
SPARSE_COST: Final = {4: 16, 8: 7}
LARGEST_DENSE: Final = 256 << 20
# Sorting an entry costs as much as searching so many cells.
DENSE_SHARE: Final = 64


def top_k_product(
    left: sparse.csr_array, right: sparse.csr_array, k: int, *, drop: np.ndarray | None = None
) -> sparse.csr_array:
    """Return the k greatest positive entries of every row of `left @ right`, float32; ties go to the smaller column.

    `drop`: one column per row of `left` that never counts, say the row itself; -1 for none.
    """
    work, width = work_per_row(left, right), right.shape[1]
    factor = quicker_factor(right, float(work.sum()), left.nnz)
    full = isinstance(factor, np.ndarray) or _hardly_sparse(float(work.sum()), left.shape[0] * width)
    parts = []
    for start, stop in _blocks(work, width, full):
        block = (left[start:stop] @ factor).astype(np.float32, copy=False)
        without = None if drop is None else drop[start:stop]
        parts.append(keep_top(_dense(block) if full else block, k, drop=without))
    return stack(parts, width)


def _hardly_sparse(entries: float, cells: int) -> bool:
    """Tell whether a matrix is searched sooner in all of its cells than by sorting its entries."""
    return DENSE_SHARE * entries >= cells


def _blocks(work: np.ndarray, width: int, full: bool) -> Iterator[tuple[int, int]]:
    """Cut rows into ranges of bounded work and, where they are made `full`, of bounded cells."""
    return row_blocks(np.maximum(work, width // 2) if full else work, BLOCK_WORK)


def _dense(block: sparse.csr_array | np.ndarray) -> np.ndarray:
    return block if isinstance(block, np.ndarray) else block.toarray()


def quicker_factor(right: sparse.csr_array, work: float, entries: int) -> sparse.csr_array | np.ndarray:
    """Return `right` as it is, or dense where a product of that many multiplications is quicker so.

    `entries`: of the left side; each multiplies a whole row of a dense right side. Both ways add up in one order, so
    the choice never shows in a product.
    """
    cells = right.shape[0] * right.shape[1]
    dense = SPARSE_COST[right.dtype.itemsize] * work >= float(entries) * right.shape[1]
    return right.toarray() if dense and cells * right.dtype.itemsize <= LARGEST_DENSE else right


def keep_top(matrix: sparse.csr_array | np.ndarray, k: int, *, drop: np.ndarray | None = None) -> sparse.csr_array:
    """Return the k greatest positive entries of every row, columns ascending; ties go to the smaller column.

    `drop`: one column per row that never counts; -1 for none.
    """
    if isinstance(matrix, np.ndarray):
        return _keep_top_dense(matrix, k, drop)
    return _keep_top_sparse(matrix if drop is None else _without(matrix, drop), k)


def _keep_top_dense(matrix: np.ndarray, k: int, drop: np.ndarray | None) -> sparse.csr_array:
    rows, width = matrix.shape
    excluded = None if drop is None else (np.flatnonzero(drop >= 0), drop[drop >= 0])
    top = best(matrix, k, floor=0.0, excluded=excluded)
    cells = np.sort(top.row * width + top.item)
    indptr = np.append(0, np.cumsum(np.bincount(top.row, minlength=rows)))
    return sparse.csr_array((matrix.ravel()[cells], cells - top.row * width, indptr), shape=matrix.shape)


def _keep_top_sparse(matrix: sparse.csr_array, k: int) -> sparse.csr_array:
    """The same for the entries of a sparse matrix.

    One sort of 64-bit keys (row, then value descending) finds every row's k-th value: the bits of positive floats
    order as the floats do.
    """
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    values = matrix.data.astype(np.float32)
    positive = values > 0
    row, values, column = row[positive], values[positive], matrix.indices[positive]
    key = (row.astype(np.uint64) << np.uint64(32)) | (np.uint64(0xFFFFFFFF) - values.view(np.uint32))
    counts = np.bincount(row, minlength=matrix.shape[0])
    kept = np.minimum(counts, k)
    # An empty row's threshold is somebody else's key; no entry asks for it.
    last = np.maximum(np.cumsum(counts) - counts + kept - 1, 0)
    threshold = np.sort(key)[last] if len(key) else np.zeros(len(counts), np.uint64)
    keep = key < threshold[row]
    equal = np.flatnonzero(key == threshold[row])
    equal = equal[np.lexsort((column[equal], row[equal]))]
    wanted = kept - np.bincount(row[keep], minlength=matrix.shape[0])
    keep[equal[_number_in_run(row[equal]) < wanted[row[equal]]]] = True
    indptr = np.concatenate([[0], np.cumsum(kept)])
    result = sparse.csr_array((values[keep], column[keep], indptr), shape=matrix.shape)
    result.sort_indices()
    return result


def strongest_into(similarity: sparse.csr_array, k: int) -> sparse.csr_array:
    """Return items x items: in row c the k items with the greatest positive weight for c, c itself left out.

    `similarity`: row i says what item i in a history speaks for; the result is cut from its columns.
    """
    columns, items = sparse.csc_array(similarity), similarity.shape[0]
    full = _hardly_sparse(columns.nnz, items * columns.shape[1])
    parts = []
    for start, stop in _blocks(np.diff(columns.indptr), items, full):
        block = sparse.csr_array(columns[:, start:stop].T)
        parts.append(keep_top(_dense(block) if full else block, k, drop=np.arange(start, stop)))
    return stack(parts, items)


def stack(parts: list[sparse.csr_array], columns: int) -> sparse.csr_array:
    """Put blocks of rows below each other."""
    if not parts:
        return sparse.csr_array((0, columns), dtype=np.float32)
    return sparse.csr_array(sparse.vstack(parts, format="csr", dtype=np.float32))


def work_per_row(left: sparse.csr_array, right: sparse.csr_array) -> np.ndarray:
    """Return the multiplications that every row of `left @ right` takes."""
    each = np.diff(right.indptr)[left.indices]
    return np.diff(np.concatenate([[0], np.cumsum(each)])[left.indptr])


def row_blocks(work: np.ndarray, limit: int) -> Iterator[tuple[int, int]]:
    """Cut rows into ranges whose work stays within `limit` (a row above it stands alone)."""
    total = np.concatenate([[0], np.cumsum(work)])
    start = 0
    while start < len(work):
        stop = max(start + 1, int(np.searchsorted(total, total[start] + limit, side="right")) - 1)
        yield start, stop
        start = stop


def unit_rows(matrix: sparse.csr_array) -> sparse.csr_array:
    """Scale every row to Euclidean length 1; empty rows stay empty."""
    norm = np.sqrt((matrix.astype(np.float64) ** 2).sum(axis=1))
    return scale_rows(matrix, np.divide(1.0, norm, out=np.zeros_like(norm), where=norm > 0))


def scale_rows(matrix: sparse.csr_array, factors: np.ndarray) -> sparse.csr_array:
    """Multiply row r by `factors[r]`."""
    data = (matrix.data * np.repeat(factors, np.diff(matrix.indptr))).astype(np.float32)
    return sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def scale_columns(matrix: sparse.csr_array, factors: np.ndarray) -> sparse.csr_array:
    """Multiply column c by `factors[c]`."""
    data = (matrix.data * factors[matrix.indices]).astype(np.float32)
    return sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def _without(matrix: sparse.csr_array, drop: np.ndarray) -> sparse.csr_array:
    dropped = matrix.indices == np.repeat(drop, np.diff(matrix.indptr))
    data = np.where(dropped, 0, matrix.data)
    return sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def _number_in_run(values: np.ndarray) -> np.ndarray:
    """Return 0, 1, 2, ... within every run of equal values."""
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    return np.arange(len(values)) - np.repeat(starts, np.diff(np.append(starts, len(values))))
