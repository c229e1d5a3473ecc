"""Items like the user's recent ones, by what is said about them: the route for items without events."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from candidate_gen.attributes import token_matrix
from candidate_gen.history import recent_items
from candidate_gen.interactions import Interactions
from candidate_gen.neighbours import history_rows
from candidate_gen.similarity import scale_columns, unit_rows
from candidate_gen.source import CandidateSource


class Content(CandidateSource):
    """Scores an item by the cosine of its TF-IDF tokens and the decayed sum of those of the user's recent items.

    Tokens are the values of list columns (categories), the words of texts (title) and the bins of numbers and times.
    Null for items of which nothing is said and for users whose history says nothing; 0 means nothing in common.
    """

    floor = 0.0

    def __init__(
        self,
        history: int = 10,
        history_decay: float = 0.8,
        min_items: int = 10,
        bins: int = 10,
        max_tokens: int = 50_000,
    ) -> None:
        self.history = history
        self.history_decay = history_decay
        self.min_items = min_items
        self.bins = bins
        self.max_tokens = max_tokens

    def _fit(self, interactions: Interactions) -> None:
        items = interactions.shape[1]
        tokens = token_matrix(
            interactions.items, rows=items, bins=self.bins, min_rows=self.min_items, limit=self.max_tokens
        )
        self.tokens_ = tokens.names
        self.vectors_ = unit_rows(scale_columns(tokens.counts, _idf(tokens.counts)))
        self.silent_ = np.diff(self.vectors_.indptr) == 0
        recent = recent_items(interactions, last=self.history, position_decay=self.history_decay)
        self.profiles_ = unit_rows(sparse.csr_array(recent @ self.vectors_))

    def score_batch(self, users: np.ndarray) -> np.ndarray:
        profiles = history_rows(self.profiles_, users)
        scores = np.ascontiguousarray((self.vectors_ @ profiles.T.toarray()).T)
        scores[np.diff(profiles.indptr) == 0] = np.nan
        scores[:, self.silent_] = np.nan
        return scores


def _idf(counts: sparse.csr_array) -> np.ndarray:
    """Return log((1 + rows) / (1 + rows with the token)) + 1 per token."""
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    return np.log((1 + counts.shape[0]) / (1 + frequency)) + 1
