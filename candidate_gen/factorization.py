"""Matrix factorisation with attributes: users and items known by attributes only get factors too.

Implicit ALS (Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008) whose factors
are drawn towards a linear function of the attributes instead of zero, as in the regression-based latent factor model
(Agarwal, Chen, KDD 2009). That function is a ridge regression of the factors, solved anew in every iteration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve

from candidate_gen.attributes import token_matrix
from candidate_gen.interactions import Interactions
from candidate_gen.source import HALF_LIFE, CandidateSource, Vectors

_BLOCK_ROWS = 8192


class AttributeFactorization(CandidateSource):
    """Scores a pair by the dot product of its factors.

    `alpha`: confidence per label weight, as in implicit's ALS. `regularization`: how strongly factors are drawn to what
    the attributes predict. `attribute_ridge`: how strongly the attributes' effects are drawn to zero.
    Null for users and items that have neither a target event nor an attribute. `item_factors_`: float32 (items,
    factors); `user_factors_`: float32 (users + 1, factors), the last row stands for unknown users (code -1).
    """

    suited: ClassVar[tuple[str, ...]] = (HALF_LIFE, "regularization")

    def __init__(
        self,
        factors: int = 16,
        regularization: float = 100.0,
        alpha: float = 4.0,
        attribute_ridge: float = 30.0,
        iterations: int = 10,
        half_life_days: float | None = None,
        min_rows: int = 5,
        max_tokens: int = 1000,
        bins: int = 8,
        seed: int = 0,
    ) -> None:
        self.factors = factors
        self.regularization = regularization
        self.alpha = alpha
        self.attribute_ridge = attribute_ridge
        self.iterations = iterations
        self.half_life_days = half_life_days
        self.min_rows = min_rows
        self.max_tokens = max_tokens
        self.bins = bins
        self.seed = seed

    def _fit(self, interactions: Interactions) -> None:
        confidence = interactions.decayed(self.half_life_days) * np.float32(self.alpha)
        users = self._side(confidence, interactions.users)
        items = self._side(sparse.csr_array(confidence.T), interactions.items)
        random = np.random.default_rng(self.seed)
        item_factors = random.normal(0, 0.1, (interactions.shape[1], self.factors)) * items.active[:, None]
        user_prior, item_prior = (np.zeros((rows, self.factors)) for rows in interactions.shape)
        for _ in range(self.iterations):
            user_factors = users.solve(item_factors, user_prior, self.regularization)
            user_prior = users.regress(user_factors)
            item_factors = items.solve(user_factors, item_prior, self.regularization)
            item_prior = items.regress(item_factors)
        user_factors = users.solve(item_factors, user_prior, self.regularization)
        # Who has no event takes no part in the fit and is what the attributes say.
        user_factors = np.where(users.active[:, None], user_factors, user_prior)
        self.user_factors_ = np.append(user_factors, np.zeros((1, self.factors)), axis=0).astype(np.float32)
        self.item_factors_ = np.where(items.active[:, None], item_factors, item_prior).astype(np.float32)
        self.silent_users_, self.silent_items_ = np.append(users.silent, True), items.silent

    def score_batch(self, users: np.ndarray) -> np.ndarray:
        scores = self.user_factors_[users] @ self.item_factors_.T
        scores[self.silent_users_[users]] = np.nan
        scores[:, self.silent_items_] = np.nan
        return scores

    def vectors(self) -> Vectors:
        users = np.where(self.silent_users_[:-1, None], np.float32(np.nan), self.user_factors_[:-1])
        return Vectors(users, np.where(self.silent_items_[:, None], np.float32(np.nan), self.item_factors_))

    def _side(self, confidence: sparse.csr_array, table: pa.Table) -> _Side:
        tokens = token_matrix(
            table, rows=confidence.shape[0], bins=self.bins, min_rows=self.min_rows, limit=self.max_tokens
        ).counts
        tokens.data[:] = 1
        active = np.diff(confidence.indptr) > 0
        silent = ~active & (np.diff(tokens.indptr) == 0)
        intercept = sparse.csr_array(np.ones((len(active), 1), np.float32))
        attributes = sparse.csr_array(sparse.hstack([intercept, tokens], format="csr"))
        seen = attributes[active].astype(np.float64)
        normal = (seen.T @ seen).toarray() + self.attribute_ridge * np.eye(attributes.shape[1])
        return _Side(confidence, attributes, active, silent, cho_factor(normal))


@dataclass(frozen=True)
class _Side:
    """The users' or the items' half of the model: one row per user or item.

    `confidence`: rows x the other side. `attributes`: rows x (1 + tokens). `active`: rows with a target event;
    `silent`: rows with neither event nor token. `normal`: Cholesky factor of the ridge regression's normal matrix.
    """

    confidence: sparse.csr_array
    attributes: sparse.csr_array
    active: np.ndarray
    silent: np.ndarray
    normal: tuple[np.ndarray, bool]

    def solve(self, other: np.ndarray, prior: np.ndarray, regularization: float) -> np.ndarray:
        """Return every row's best factors given those of the other side, float64 (rows, factors); 0 where inactive."""
        size = other.shape[1]
        upper = np.triu_indices(size)
        # float32 halves the time of most of the work; what is solved is float64 again.
        products = (other[:, upper[0]] * other[:, upper[1]]).astype(np.float32)
        base = other.T @ other + regularization * np.eye(size)
        target = self.confidence @ other + regularization * prior
        surplus = self.confidence.copy()
        surplus.data = surplus.data - 1
        result = np.zeros((len(self.active), size))
        active = np.flatnonzero(self.active)
        for start in range(0, len(active), _BLOCK_ROWS):
            rows = active[start : start + _BLOCK_ROWS]
            normal = np.empty((len(rows), size, size))
            normal[:, upper[0], upper[1]] = surplus[rows] @ products
            normal[:, upper[1], upper[0]] = normal[:, upper[0], upper[1]]
            result[rows] = np.linalg.solve(normal + base, target[rows, :, None])[:, :, 0]
        return result

    def regress(self, factors: np.ndarray) -> np.ndarray:
        """Return what the attributes predict of the active rows' factors, for every row."""
        # Inactive rows have zero factors, so they add nothing to the right-hand side.
        effects = cho_solve(self.normal, self.attributes.T @ factors)
        return self.attributes @ effects
