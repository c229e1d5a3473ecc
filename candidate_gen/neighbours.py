"""Scores from neighbours: what a user's history, or the users nearby, add up to for every item."""

from __future__ import annotations

import numpy as np
from scipy import sparse

# A sparse product costs some three times as much per multiplication as one with a dense right side.
_SPARSEST_DENSE = 0.125
_LARGEST_DENSE = 256 << 20


def history_rows(matrix: sparse.csr_array, users: np.ndarray) -> sparse.csr_array:
    """Return one row of `matrix` per user code, empty for unknown users (-1)."""
    if not matrix.shape[0]:
        return sparse.csr_array((len(users), matrix.shape[1]), dtype=matrix.dtype)
    rows = matrix[np.maximum(users, 0)]
    known = sparse.diags_array((users >= 0).astype(matrix.dtype))
    return sparse.csr_array(known @ rows) if (users < 0).any() else rows


def history_scores(history: sparse.csr_array, similarity: sparse.csr_array) -> np.ndarray:
    """Return float32 dense `history @ similarity`: for each row the summed similarity to what it holds."""
    cells = similarity.shape[0] * similarity.shape[1]
    # Same sums in the same order, so the choice never shows in the scores.
    if similarity.nnz >= _SPARSEST_DENSE * cells and 4 * cells <= _LARGEST_DENSE:
        return (history @ similarity.toarray()).astype(np.float32, copy=False)
    return (history @ similarity).toarray().astype(np.float32, copy=False)
