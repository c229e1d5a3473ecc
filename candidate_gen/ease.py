"""EASE: the linear item-item model with a closed form (Steck, "Embarrassingly Shallow Autoencoders", WWW 2019)."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from candidate_gen.history import recent_items
from candidate_gen.interactions import Interactions
from candidate_gen.neighbours import history_rows
from candidate_gen.selection import best
from candidate_gen.similarity import BLOCK_WORK, row_blocks, work_per_row
from candidate_gen.source import CandidateSource, SourceSkipped
from feature_repo.errors import ConfigError

LISTED = 200


class SourceTooLarge(SourceSkipped):
    """A source would need more memory than its limit allows."""


class EASE(CandidateSource):
    """Item weights B = I - P / diag(P) with P = (X'X + regularization I)^-1 over the binary users x items matrix X.

    A user's scores are the history times B: the last `history` items (None: all), fading per half-life and per place.
    B is dense: above `max_items` items with a target event, `fit` raises SourceTooLarge with the memory it would take.
    Null for users and for items without a target event.
    """

    floor = 0.0

    def __init__(
        self,
        regularization: float = 500.0,
        max_items: int = 20_000,
        half_life_days: float | None = None,
        position_decay: float = 1.0,
        history: int | None = None,
    ) -> None:
        self.regularization = regularization
        self.max_items = max_items
        self.half_life_days = half_life_days
        self.position_decay = position_decay
        self.history = history

    def _fit(self, interactions: Interactions) -> None:
        self.items_ = np.flatnonzero(np.diff(interactions.positives.tocsc().indptr))
        if len(self.items_) > self.max_items:
            raise self._too_large(len(self.items_))
        binary = sparse.csr_array(interactions.positives[:, self.items_] > 0, dtype=np.float32)
        inverse = _inverse(_gram(binary, self.regularization))
        weights = np.empty(inverse.shape, np.float32)
        np.divide(inverse, -np.diagonal(inverse), out=weights, casting="same_kind")
        np.fill_diagonal(weights, 0)
        self.weights_ = weights
        self.histories_ = recent_items(
            interactions,
            last=self.history,
            half_life_days=self.half_life_days,
            position_decay=self.position_decay,
        )[:, self.items_]

    def score_batch(self, users: np.ndarray) -> np.ndarray:
        history = history_rows(self.histories_, users)
        scores = np.full((len(users), self.interactions_.shape[1]), np.nan, np.float32)
        served = np.flatnonzero(np.diff(history.indptr))
        scores[np.ix_(served, self.items_)] = history[served] @ self.weights_
        return scores

    def similar_items(self) -> sparse.csr_array:
        """Return the LISTED greatest positive weights into every item, not the whole dense matrix."""
        top = best(self.weights_.T, LISTED, floor=0.0)
        entries = (self.weights_[top.item, top.row], (self.items_[top.item], self.items_[top.row]))
        width = self.interactions_.shape[1]
        return sparse.csr_array(sparse.coo_array(entries, shape=(width, width)))

    def _too_large(self, items: int) -> SourceTooLarge:
        return SourceTooLarge(
            "EASE, parameter max_items",
            expected=f"at most {self.max_items:,} items with a target event",
            got=f"{items:,}, whose weights take {memory_gb(items):.1f} GB while they are fitted",
            fix="Raise max_items where there is that much memory, or remove this source.",
        )


def memory_gb(items: int) -> float:
    """Return what a fit takes at its peak: the Gram matrix in float64 beside the weights in float32."""
    return items**2 * (8 + 4) / 1e9


def _gram(matrix: sparse.csr_array, regularization: float) -> np.ndarray:
    """Return X'X + regularization I, dense float64 in Fortran order, filled in blocks of items."""
    transposed = sparse.csr_array(matrix.T)
    gram = np.empty((matrix.shape[1], matrix.shape[1]), np.float64)
    for start, stop in row_blocks(work_per_row(transposed, matrix), BLOCK_WORK):
        gram[start:stop] = (transposed[start:stop] @ matrix).toarray()
    gram[np.diag_indices_from(gram)] += regularization
    return gram.T


def _inverse(gram: np.ndarray) -> np.ndarray:
    """Invert a symmetric positive definite matrix in place (Cholesky)."""
    if not len(gram):
        return gram
    factor, failed = lapack.dpotrf(gram, lower=1, overwrite_a=1)
    inverse, failed_too = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed or failed_too:
        raise ConfigError(
            "EASE, parameter regularization",
            expected="a value that makes the Gram matrix positive definite",
            got="a singular matrix",
            fix="Raise regularization.",
        )
    for start in range(0, len(inverse), 1024):
        rows = slice(start, start + 1024)
        inverse[rows, start + 1024 :] = inverse[start + 1024 :, rows].T
        block = inverse[rows, rows]
        block[:] = np.tril(block) + np.tril(block, -1).T
    return inverse
