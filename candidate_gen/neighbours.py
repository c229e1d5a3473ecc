"""Item-to-item similarity as sparse rows of the best neighbours, and scores of users from their history."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from candidate_gen.source import best

BLOCK_BYTES = 64 << 20


def top_neighbours(weighted: sparse.csr_array, k: int) -> sparse.csr_array:
    """Return float32 (items, items): each row the k largest positive entries of `weighted.T @ weighted`.

    `weighted`: users x items. Ties go to the smaller item. Only one block of rows is dense at a time.
    """
    return best_per_row(weighted.T.tocsr(), weighted, k)


def best_per_row(left: sparse.csr_array, right: sparse.csr_array, k: int) -> sparse.csr_array:
    """Return the k largest positive entries per row of `left @ right` as float32, columns ascending."""
    rows, columns = left.shape[0], right.shape[1]
    block = max(1, BLOCK_BYTES // (8 * max(columns, 1)))
    parts = [_best_block(left[start : start + block] @ right, k) for start in range(0, rows, block)]
    if not parts:
        return sparse.csr_array((rows, columns), dtype=np.float32)
    return sparse.vstack(parts, format="csr", dtype=np.float32)


def _best_block(product: sparse.csr_array, k: int) -> sparse.csr_array:
    scores = product.toarray().astype(np.float32)
    top = best(scores, k, floor=0.0)
    entries = (scores[top.row, top.item], (top.row, top.item))
    block = sparse.coo_array(entries, shape=scores.shape).tocsr()
    block.sort_indices()
    return block


def history_scores(history: sparse.csr_array, similarity: sparse.csr_array) -> np.ndarray:
    """Return float32 dense `history @ similarity`: for each row the summed similarity to what it holds."""
    return (history @ similarity).toarray().astype(np.float32, copy=False)


def history_rows(matrix: sparse.csr_array, users: np.ndarray) -> sparse.csr_array:
    """Return one row per user code, empty for unknown users (-1)."""
    rows = matrix[np.maximum(users, 0)] if matrix.shape[0] else sparse.csr_array((len(users), matrix.shape[1]))
    known = sparse.diags_array((users >= 0).astype(matrix.dtype))
    return (known @ rows).tocsr()
