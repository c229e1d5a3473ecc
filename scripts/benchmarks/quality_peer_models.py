"""The peers of `scripts/bench quality`, each as its own library ships it; runs in the peers' environment.

Every model answers `scores(log, users, seed)`: float32, shape (len(users), items), higher is better, -inf where it has
no opinion. For all peers alike, `lists` leaves out what a user has seen and fills short lists up by popularity.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy import sparse

DAY = 86_400_000_000  # microseconds
UNSEEN = -np.inf
LARGEST_EASE = 20_000


@dataclass(frozen=True)
class Log:
    """The events before a cut as codes into sorted own ids: `user`, `item` int64, `time` int64 us, ascending in time.

    `liked`: bool, the peer learns from the event. `seen`: bool, the user has consumed the item.
    `users`, `items`: attributes, one row per code.
    """

    user_ids: pa.Array
    item_ids: pa.Array
    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    liked: np.ndarray
    seen: np.ndarray
    users: pa.Table
    items: pa.Table

    @classmethod
    def read(cls, folder: Path, *, likes: str) -> Log:
        """Read a hand-over; `likes` says which events a peer learns from: "targets", or "seen" for all of them."""
        events, users, items = (pq.read_table(folder / f"{name}.parquet") for name in ("log", "users", "items"))
        events = events.sort_by([("event_timestamp", "ascending")])
        user_ids, item_ids = users["user_id"].combine_chunks(), items["item_id"].combine_chunks()
        seen = events["consuming"].to_numpy()
        return cls(
            user_ids,
            item_ids,
            _codes(events["user_id"], user_ids),
            _codes(events["item_id"], item_ids),
            events["event_timestamp"].cast(pa.int64()).to_numpy(),
            events["target"].to_numpy() if likes == "targets" else seen,
            seen,
            users.drop_columns(["user_id"]),
            items.drop_columns(["item_id"]),
        )

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.user_ids), len(self.item_ids)

    def matrix(self, kept: np.ndarray) -> sparse.csr_matrix:
        """Return users x items, float32: 1 where the user has an event among the kept ones."""
        entries = (np.ones(kept.sum(), np.float32), (self.user[kept], self.item[kept]))
        matrix = sparse.csr_matrix(entries, shape=self.shape)
        matrix.sum_duplicates()
        matrix.data[:] = 1.0
        return matrix

    @property
    def likes(self) -> sparse.csr_matrix:
        return self.matrix(self.liked)

    def popularity(self, days: float | None = None) -> np.ndarray:
        """Return how many users liked each item in the last so many days before the last event, float32."""
        recent = self.liked if days is None else self.liked & (self.time >= self.time[-1] - days * DAY)
        return np.asarray(self.matrix(recent).sum(axis=0), np.float32).ravel()

    def encode_users(self, ids: pa.Array) -> np.ndarray:
        """Return int64 codes, -1 for users without an event before the cut."""
        return _codes(ids, self.user_ids)


class Model(Protocol):
    """A model with its parameters as fields; `scores` fits it on the log first."""

    def scores(self, log: Log, users: np.ndarray, seed: int) -> np.ndarray: ...


@dataclass(frozen=True)
class Popular:
    """Items by the number of users who liked them, over all time or the last days."""

    days: float | None = None

    def scores(self, log: Log, users: np.ndarray, seed: int) -> np.ndarray:
        return np.broadcast_to(log.popularity(self.days), (len(users), log.shape[1]))


@dataclass(frozen=True)
class ALS:
    """implicit's alternating least squares."""

    factors: int = 64
    regularization: float = 0.01
    alpha: float = 1.0
    iterations: int = 15

    def build(self, seed: int) -> object:
        from implicit.cpu.als import AlternatingLeastSquares

        return AlternatingLeastSquares(
            factors=self.factors,
            regularization=self.regularization,
            alpha=self.alpha,
            iterations=self.iterations,
            num_threads=1,
            random_state=seed,
        )

    def scores(self, log: Log, users: np.ndarray, seed: int) -> np.ndarray:
        model = self.build(seed)
        model.fit(log.likes, show_progress=False)
        return _known_only(model.user_factors[users] @ model.item_factors.T, users)


@dataclass(frozen=True)
class CosineKNN:
    """implicit's item neighbours by cosine."""

    neighbours: int = 20

    def build(self, seed: int) -> object:
        from implicit.nearest_neighbours import CosineRecommender

        return CosineRecommender(K=self.neighbours, num_threads=1)

    def scores(self, log: Log, users: np.ndarray, seed: int) -> np.ndarray:
        return _neighbour_scores(self.build(seed), log, users)


@dataclass(frozen=True)
class BM25KNN:
    """implicit's item neighbours by BM25."""

    neighbours: int = 20
    k1: float = 1.2
    b: float = 0.75

    def build(self, seed: int) -> object:
        from implicit.nearest_neighbours import BM25Recommender

        return BM25Recommender(K=self.neighbours, K1=self.k1, B=self.b, num_threads=1)

    def scores(self, log: Log, users: np.ndarray, seed: int) -> np.ndarray:
        return _neighbour_scores(self.build(seed), log, users)


@dataclass(frozen=True)
class EASE:
    """RecTools' EASE."""

    regularization: float = 500.0

    def scores(self, log: Log, users: np.ndarray, seed: int) -> np.ndarray:
        from rectools.models import EASEModel

        if log.shape[1] > LARGEST_EASE:
            raise SystemExit(f"EASE inverts a dense items x items matrix: {log.shape[1]} items are too many for it.")
        dataset = rectools_dataset(log)
        model = EASEModel(regularization=self.regularization).fit(dataset)
        # RecTools numbers the items by their first appearance.
        order = dataset.item_id_map.external_ids.astype(np.int64)
        likes = log.likes[users][:, order]
        result = np.full((len(users), log.shape[1]), UNSEEN, np.float32)
        result[:, order] = likes @ model.weight
        return _known_only(result, users)


def rectools_dataset(log: Log) -> object:
    """Return RecTools' Dataset of the likes, its external ids being our codes."""
    import pandas as pd
    from rectools.dataset import Dataset

    liked = log.liked
    frame = pd.DataFrame(
        {
            "user_id": log.user[liked],
            "item_id": log.item[liked],
            "weight": np.ones(liked.sum(), np.float32),
            "datetime": log.time[liked].astype("datetime64[us]").astype("datetime64[ns]"),
        }
    )
    return Dataset.construct(frame.drop_duplicates(["user_id", "item_id"]))


def lists(log: Log, users: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """Return int64 item codes (len(users), k), best first: nothing seen; ties and gaps go to the more popular item."""
    order = np.lexsort((np.arange(log.shape[1]), -log.popularity()))
    ranked = -np.asarray(scores, np.float64)[:, order]
    ranked[np.isinf(ranked)] = np.finfo(np.float64).max
    known = np.flatnonzero(users >= 0)
    seen = log.matrix(log.seen)[users[known]][:, order]
    ranked[np.repeat(known, np.diff(seen.indptr)), seen.indices] = np.inf
    best = np.argsort(ranked, axis=1, kind="stable")[:, :k]
    result = order[best]
    result[np.isinf(np.take_along_axis(ranked, best, axis=1))] = -1
    return result


def _neighbour_scores(model: object, log: Log, users: np.ndarray) -> np.ndarray:
    likes = log.likes
    model.fit(likes, show_progress=False)
    return _known_only((likes[users] @ model.similarity).toarray(), users)


def _known_only(scores: np.ndarray, users: np.ndarray) -> np.ndarray:
    scores[users < 0] = UNSEEN
    return scores


def _codes(ids: pa.Array | pa.ChunkedArray, vocabulary: pa.Array) -> np.ndarray:
    positions = pc.index_in(ids.cast(vocabulary.type), value_set=vocabulary)
    return pc.fill_null(positions, -1).to_numpy().astype(np.int64)
