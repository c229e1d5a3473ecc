"""Scores from neighbours: what a user's history, or the users nearby, add up to for every item."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from candidate_gen.similarity import quicker_factor


def history_rows(matrix: sparse.csr_array, users: np.ndarray) -> sparse.csr_array:
    """Return one row of `matrix` per user code, empty for unknown users (-1)."""
    if not matrix.shape[0]:
        return sparse.csr_array((len(users), matrix.shape[1]), dtype=matrix.dtype)
    rows = matrix[np.maximum(users, 0)]
    known = sparse.diags_array((users >= 0).astype(matrix.dtype))
    return sparse.csr_array(known @ rows) if (users < 0).any() else rows


def history_factor(history: sparse.csr_array, similarity: sparse.csr_array) -> sparse.csr_array | np.ndarray:
    """Return what `history_scores` multiplies rows of `history` with: `similarity`, dense where that is quicker."""
    work = float(np.diff(similarity.indptr)[history.indices].sum(dtype=np.int64))
    return quicker_factor(similarity, work, history.nnz)


def history_scores(history: sparse.csr_array, factor: sparse.csr_array | np.ndarray) -> np.ndarray:
    """Return float32 dense `history @ factor`: for each row the summed similarity to what it holds."""
    scores = history @ factor
    return (scores.toarray() if sparse.issparse(scores) else scores).astype(np.float32, copy=False)
