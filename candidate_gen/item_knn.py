"""Items like those that the user liked: nearest neighbours over weighted columns, as in implicit."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from scipy import sparse

from candidate_gen.history import recent_items
from candidate_gen.interactions import Interactions
from candidate_gen.neighbours import history_factor, history_rows, history_scores
from candidate_gen.similarity import top_k_product
from candidate_gen.source import CandidateSource, Events


class ItemKNN(CandidateSource):
    """Sum over the user's history of the similarity between the item there and the candidate.

    `neighbours`: how many similar items each item of the history speaks for, itself among them. `half_life_days` fades
    the history with age, counted from the user's last event (None: not). `similarity_`: float32 (items, items), row i
    the neighbours of item i. Null for users without a liked item and for items that nobody liked; 0 means that no
    neighbour matched.
    """

    floor: ClassVar[float] = 0.0

    def __init__(self, neighbours: int = 1000, half_life_days: float | None = None, events: Events = "targets") -> None:
        self.neighbours = neighbours
        self.half_life_days = half_life_days
        self.events = events

    @abstractmethod
    def _weighted(self, matrix: sparse.csr_array) -> sparse.csr_array:
        """Weigh users x items, float64, so that dot products of columns are similarities."""

    def _fit(self, interactions: Interactions) -> None:
        positives = interactions.positives.astype(np.float64)
        weighted = self._weighted(positives)
        self.similarity_ = top_k_product(weighted.T.tocsr(), weighted, self.neighbours)
        faded = self.half_life_days is not None
        self.history_ = (
            recent_items(interactions, half_life_days=self.half_life_days) if faded else interactions.positives
        )
        self.factor_ = history_factor(self.history_, self.similarity_)
        self.unliked_ = np.flatnonzero(positives.count_nonzero(axis=0) == 0)

    def score_batch(self, users: np.ndarray) -> np.ndarray:
        history = history_rows(self.history_, users)
        scores = history_scores(history, self.factor_)
        scores[np.diff(history.indptr) == 0] = np.nan
        scores[:, self.unliked_] = np.nan
        return scores

    def similar_items(self) -> sparse.csr_array:
        return self.similarity_


class CosineItemKNN(ItemKNN):
    """Cosine between the columns of the label weights."""

    def _weighted(self, matrix: sparse.csr_array) -> sparse.csr_array:
        return unit_columns(matrix)


class TFIDFItemKNN(ItemKNN):
    """Cosine after users who like much count for less: square root of the weight times log(items / (1 + liked))."""

    def _weighted(self, matrix: sparse.csr_array) -> sparse.csr_array:
        return unit_columns(_scale_rows(matrix.sqrt(), inverse_frequency(matrix)))


class BM25ItemKNN(ItemKNN):
    """BM25: users who like much count for less, and an item's weight saturates (`k1`) and is normed by fame (`b`)."""

    def __init__(
        self,
        neighbours: int = 1000,
        k1: float = 0.5,
        b: float = 0.2,
        half_life_days: float | None = None,
        events: Events = "targets",
    ) -> None:
        super().__init__(neighbours, half_life_days, events)
        self.k1 = k1
        self.b = b

    def _weighted(self, matrix: sparse.csr_array) -> sparse.csr_array:
        fame = _fame(matrix)
        norm = (1.0 - self.b) + self.b * fame / fame[fame > 0].mean() if fame.any() else fame
        weighted = matrix.copy()
        weighted.data = weighted.data * (self.k1 + 1.0) / (self.k1 * norm[weighted.indices] + weighted.data)
        return _scale_rows(weighted, inverse_frequency(matrix))


def inverse_frequency(matrix: sparse.csr_array) -> np.ndarray:
    """Return log(items that anyone liked / (1 + items that the user liked)) per user."""
    return np.log(max(np.count_nonzero(_fame(matrix)), 1)) - np.log1p(np.diff(matrix.indptr))


def _fame(matrix: sparse.csr_array) -> np.ndarray:
    return np.bincount(matrix.indices, matrix.data, minlength=matrix.shape[1])


def unit_columns(matrix: sparse.csr_array) -> sparse.csr_array:
    """Scale every column to length one; empty columns stay empty."""
    length = np.sqrt(np.bincount(matrix.indices, matrix.data**2, minlength=matrix.shape[1]))
    scaled = matrix.copy()
    scaled.data = np.divide(scaled.data, length[scaled.indices], where=length[scaled.indices] > 0, out=scaled.data)
    return scaled


def _scale_rows(matrix: sparse.csr_array, factor: np.ndarray) -> sparse.csr_array:
    scaled = matrix.copy()
    scaled.data = scaled.data * np.repeat(factor, np.diff(matrix.indptr))
    return scaled
