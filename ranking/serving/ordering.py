"""From scored candidates to a list: plain, diverse, calibrated; then unfamiliar items, exploration and pins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from feature_repo.errors import ConfigError
from ranking.serving.pool import CATEGORIES, USER_CATEGORIES, USER_SHARES, Pool


class Order(ABC):
    """Arranges the best candidates. `rows` come best first; the first k of the result are the list."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The feature columns that it reads."""
        return ()

    @abstractmethod
    def arrange(self, pool: Pool, rows: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
        """Return rows in their new order; `scores` float64 per candidate of the pool."""


@dataclass(frozen=True)
class ByScore(Order):
    """As the model says."""

    def arrange(self, pool: Pool, rows: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
        return rows


@dataclass(frozen=True)
class Mmr(Order):
    """Maximal marginal relevance (Carbonell and Goldstein 1998) among the first `depth`.

    Each place goes to the greatest `relevance` * score - (1 - `relevance`) * likeness to the most alike item above it.
    Scores are scaled to [0, 1]; `by` is a column of vectors (cosine) or `item_categories` (Jaccard).
    """

    relevance: float = 0.7
    by: str = CATEGORIES
    depth: int = 100

    def __post_init__(self) -> None:
        if not (0 <= self.relevance <= 1 and self.depth >= 1):
            raise ValueError("relevance from 0 to 1 and depth from 1")

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.by, USER_CATEGORIES) if self.by == CATEGORIES else (self.by,)

    def arrange(self, pool: Pool, rows: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
        near = rows[: max(self.depth, k)]
        value = self.relevance * _scaled(scores[near])
        likeness = self._likeness(pool, near)
        closest = np.zeros(len(near))
        chosen: list[int] = []
        for _ in range(min(k, len(near))):
            place = int(np.argmax(value - (1 - self.relevance) * closest))
            chosen.append(place)
            value[place] = -np.inf
            closest = np.maximum(closest, likeness[place])
        return _first(rows, near, chosen)

    def _likeness(self, pool: Pool, near: np.ndarray) -> np.ndarray:
        if self.by != CATEGORIES:
            vectors = pool.vectors(self.by)[near]
            return np.maximum(vectors @ vectors.T, 0).astype(np.float64)
        member = pool.membership[near].astype(np.float64)
        both = member @ member.T
        sizes = member.sum(axis=1)
        either = sizes[:, None] + sizes[None, :] - both
        return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


@dataclass(frozen=True)
class Calibrated(Order):
    """Calibration to the user's category shares (Steck 2018) among the first `depth`.

    Each place goes to the item that makes (1 - `strength`) * summed scores - `strength` * KL(history | list) greatest.
    """

    strength: float = 0.5
    depth: int = 100
    smoothing: float = 0.01

    def __post_init__(self) -> None:
        if not (0 <= self.strength <= 1 and self.depth >= 1 and 0 < self.smoothing <= 1):
            raise ValueError("strength from 0 to 1, depth from 1 and smoothing above 0 up to 1")

    @property
    def columns(self) -> tuple[str, ...]:
        return (CATEGORIES, USER_CATEGORIES, USER_SHARES)

    def arrange(self, pool: Pool, rows: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
        wanted = pool.user_shares
        if not wanted.sum() > 0:
            return rows
        wanted = wanted / wanted.sum()
        near = rows[: max(self.depth, k)]
        value = _scaled(scores[near])
        member = pool.membership[near].astype(np.float64)
        share = member / np.maximum(member.sum(axis=1, keepdims=True), 1)
        mass, total = np.zeros(member.shape[1]), 0.0
        free = np.ones(len(near), bool)
        chosen: list[int] = []
        for count in range(1, min(k, len(near)) + 1):
            listed = (1 - self.smoothing) * (mass + share) / count + self.smoothing * wanted
            ratio = np.divide(wanted, listed, out=np.ones_like(listed), where=wanted > 0)
            gap = wanted * np.log(ratio)
            gain = (1 - self.strength) * (total + value) - self.strength * gap.sum(axis=1)
            place = int(np.argmax(np.where(free, gain, -np.inf)))
            chosen.append(place)
            free[place] = False
            mass, total = mass + share[place], total + value[place]
        return _first(rows, near, chosen)


ORDERS: Final[Mapping[str, type[Order]]] = {"none": ByScore, "mmr": Mmr, "calibrated": Calibrated}


def check_order(order: Order, kind: str, columns: Mapping[str, str]) -> None:
    """Raise ConfigError for an order that reads a column that no view has."""
    from feature_repo.errors import did_you_mean

    for column in order.columns:
        if column not in columns:
            raise ConfigError(
                f"order {kind}",
                expected="columns of the feature views",
                got=repr(column),
                fix=f"Correct the name.{did_you_mean(column, columns)}",
            )


def with_unfamiliar(pool: Pool, rows: np.ndarray, k: int, share: float) -> np.ndarray:
    """Fill `share` of k places from the less familiar half of the candidates, the others from the more familiar one.

    The rows of a list keep their order; where one half runs out the other fills its places.
    """
    familiar = pool.familiarity[rows]
    order = np.argsort(familiar, kind="stable")
    new = np.zeros(len(rows), bool)
    new[order[: len(rows) // 2]] = True
    wanted = min(round(share * k), int(new.sum()))
    wanted = max(wanted, min(k, len(rows)) - int((~new).sum()))
    taken = np.concatenate([np.flatnonzero(new)[:wanted], np.flatnonzero(~new)[: k - wanted]])
    return rows[np.sort(taken)]


def _first(rows: np.ndarray, near: np.ndarray, chosen: list[int]) -> np.ndarray:
    """Return the chosen places of `near`, then the rest of `rows` as it was."""
    rest = np.ones(len(near), bool)
    rest[chosen] = False
    return np.concatenate([near[chosen], near[rest], rows[len(near) :]])


def _scaled(scores: np.ndarray) -> np.ndarray:
    low, high = scores.min(initial=np.inf), scores.max(initial=-np.inf)
    return (scores - low) / (high - low) if high > low else np.zeros(len(scores))
