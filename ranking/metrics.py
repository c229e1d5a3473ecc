"""Ranking metrics with binary relevance, one value per user, vectorised.

Every function takes `hits`, bool (users, depth): whether the item at rank j + 1 is relevant, False beyond a short list;
and `relevant`, int (users,): how many items are relevant to the user, at least 1. Users without a hit count as zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

K: Final = 10
DEPTHS: Final = (5, 10, 20, 50)
Metric = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def ndcg(hits: np.ndarray, relevant: np.ndarray, k: int = K) -> np.ndarray:
    """Discounted gain over the ideal list of min(k, relevant) hits.

    >>> ndcg(np.array([[True, False, True]]), np.array([2]), 3).round(4).tolist()
    [0.9197]
    """
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    top = hits[:, :k]
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    return top @ discounts[: top.shape[1]] / ideal[np.minimum(relevant, k)]


def average_precision(hits: np.ndarray, relevant: np.ndarray, k: int = K) -> np.ndarray:
    """Precision at every hit, summed and divided by min(k, relevant)."""
    top = hits[:, :k]
    precisions = np.cumsum(top, axis=1) / np.arange(1, top.shape[1] + 1)
    return (precisions * top).sum(axis=1) / np.minimum(relevant, k)


def recall(hits: np.ndarray, relevant: np.ndarray, k: int = K) -> np.ndarray:
    """Share of the relevant items that the first k ranks hold."""
    return hits[:, :k].sum(axis=1) / relevant


def precision(hits: np.ndarray, relevant: np.ndarray, k: int = K) -> np.ndarray:
    """Share of the k places that hold a relevant item; places left empty are misses."""
    return hits[:, :k].sum(axis=1) / k


def reciprocal_rank(hits: np.ndarray, relevant: np.ndarray, k: int = K) -> np.ndarray:
    """One over the rank of the first hit within k, zero without one."""
    top = hits[:, :k]
    return np.where(top.any(axis=1), 1.0 / (top.argmax(axis=1) + 1.0), 0.0)


def hit_rate(hits: np.ndarray, relevant: np.ndarray, k: int = K) -> np.ndarray:
    """1.0 where the first k ranks hold a relevant item."""
    return hits[:, :k].any(axis=1).astype(np.float64)


HEADLINE: Final[dict[str, Metric]] = {
    "ndcg": ndcg,
    "map": average_precision,
    "recall": recall,
    "precision": precision,
    "mrr": reciprocal_rank,
    "hitrate": hit_rate,
}


def headline(hits: np.ndarray, relevant: np.ndarray, k: int = K) -> dict[str, float]:
    """Return the mean of each headline metric over the users, keyed like "ndcg@10"."""
    return {f"{name}@{k}": float(metric(hits, relevant, k).mean()) for name, metric in HEADLINE.items()}


def per_user(hits: np.ndarray, relevant: np.ndarray, k: int = K) -> dict[str, np.ndarray]:
    """Return every metric of every user: the headline at k, NDCG at several depths, precision at 1.

    `hits` must be as deep as the lists are, at least 50 ranks where they are longer.
    """
    values = {f"{name}@{k}": metric(hits, relevant, k) for name, metric in HEADLINE.items()}
    values |= {f"ndcg@{depth}": ndcg(hits, relevant, depth) for depth in DEPTHS}
    return values | {"precision@1": precision(hits, relevant, 1)}


def paired_bootstrap(
    ours: np.ndarray, theirs: np.ndarray, *, seed: int, samples: int = 5000, level: float = 0.95
) -> tuple[float, float, float]:
    """Return (mean, low, high) of the difference ours - theirs, users drawn with replacement.

    Both arrays hold one value per user, in the same order.
    """
    difference = np.asarray(ours) - np.asarray(theirs)
    rng = np.random.default_rng(seed)
    batch = max(1, 2_000_000 // len(difference))
    means = [
        difference[rng.integers(0, len(difference), (min(batch, samples - start), len(difference)))].mean(axis=1)
        for start in range(0, samples, batch)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(difference.mean()), float(low), float(high)
