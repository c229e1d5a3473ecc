"""The first stage of a request: which items are looked at, and who proposed them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.columns import ITEM, USER
from feature_repo.first_stage import CANDIDATE_ITEMS, ITEM_NEIGHBOURS, USER_CANDIDATES
from ranking.serving.catalogue import Catalogue, ascending
from ranking.serving.features import FeatureReader
from ranking.serving.request import EXPLORATION, NEIGHBOURS, POPULAR, STORED, UserId

if TYPE_CHECKING:
    from feature_repo.config import ServingConfig

HISTORY_ITEMS = "history_items"
_LIST_END = "_neighbours"


@dataclass(frozen=True)
class Retrieved:
    """`items`: own ids, ascending and distinct; `origins`: bool per item by source; `popularity`: set where the user is
    unknown, float64 per item, by which the list is ordered then."""

    items: pa.Array
    origins: dict[str, np.ndarray]
    popularity: np.ndarray | None = None


@dataclass(frozen=True)
class Retriever:
    """Stored candidates, neighbours of the latest events where the store has them, popular items for unknown users."""

    reader: FeatureReader
    catalogue: Catalogue
    settings: ServingConfig

    def retrieve(self, user: UserId, now: datetime, explore: int, seed: int) -> Retrieved:
        """Return the candidates of a user; `explore`: how many items beyond them to try."""
        stored, history = self._stored(user, now)
        neighbours, _ = self.neighbours(history, now)
        if not len(stored) and not len(neighbours):
            return self._popular(history)
        parts = {STORED: stored.slice(0, self.settings.max_candidates), NEIGHBOURS: neighbours}
        if explore:
            parts[EXPLORATION] = self._explored(user, explore, seed)
        return union(parts)

    def neighbours(self, items: pa.Array, now: datetime, most: int | None = None) -> tuple[pa.Array, np.ndarray]:
        """Return the items that the published neighbour lists of `items` name, most alike first, and summed weights.

        Every source's weights count in shares of its greatest one; `items` themselves are left out.
        """
        most = self.settings.neighbours if most is None else most
        columns = self.reader.views.get(ITEM_NEIGHBOURS, ())
        lists = [name for name in columns if name.endswith(_LIST_END)]
        if not lists or not most or not len(items):
            return items.slice(0, 0), np.zeros(0)
        pairs = {name: _weights_of(name, columns) for name in lists}
        found = self.reader.read([*pairs, *pairs.values()], {ITEM: items}, now)
        ids, weights = [], []
        for name, weight in pairs.items():
            ids.append(found.array(name).flatten())
            values = found.array(weight).flatten().to_numpy(zero_copy_only=False).astype(np.float64)
            weights.append(values / values.max() if len(values) and values.max() > 0 else values)
        coded = pa.concat_arrays(ids).dictionary_encode()
        if not len(coded):
            return items.slice(0, 0), np.zeros(0)
        summed = np.bincount(coded.indices.to_numpy(), np.concatenate(weights), len(coded.dictionary))
        best = np.lexsort((np.arange(len(summed)), -summed))
        ranked = coded.dictionary.take(pa.array(best))
        others = pc.invert(pc.is_in(ranked, value_set=items))
        kept = best[others.to_numpy(zero_copy_only=False)][:most]
        return coded.dictionary.take(pa.array(kept)), summed[kept]

    def _stored(self, user: UserId, now: datetime) -> tuple[pa.Array, pa.Array]:
        """Return the stored candidates in the order of retrieval, and the latest items of the user's history."""
        empty = self.catalogue.items.slice(0, 0)
        columns = [CANDIDATE_ITEMS] if USER_CANDIDATES in self.reader.views else []
        columns += [HISTORY_ITEMS] if self.reader.has(HISTORY_ITEMS) else []
        if not columns:
            return empty, empty
        found = self.reader.read(columns, {USER: user_key(user, 1)}, now)
        stored = found.array(CANDIDATE_ITEMS).flatten() if CANDIDATE_ITEMS in columns else empty
        history = found.array(HISTORY_ITEMS).flatten() if HISTORY_ITEMS in columns else empty
        return stored, history.slice(0, self.settings.latest_events)

    def _popular(self, history: pa.Array) -> Retrieved:
        items, scores = self.catalogue.popular()
        if len(history):
            fresh = pc.invert(pc.is_in(items, value_set=history))
            items, scores = items.filter(fresh), scores[fresh.to_numpy(zero_copy_only=False)]
        order = pc.sort_indices(items)
        return Retrieved(items.take(order), {POPULAR: np.ones(len(items), bool)}, scores[order.to_numpy()])

    def _explored(self, user: UserId, count: int, seed: int) -> pa.Array:
        pool = self.catalogue.explorable()
        rng = np.random.default_rng([abs(seed), zlib.crc32(str(user).encode())])
        return pool.take(pa.array(rng.choice(len(pool), min(4 * count, len(pool)), replace=False)))


def union(parts: dict[str, pa.Array]) -> Retrieved:
    """Merge proposals into one ascending list of distinct items with everyone who proposed them."""
    parts = {name: items for name, items in parts.items() if len(items)}
    items = ascending(pa.concat_arrays(list(parts.values())).unique())
    if len(parts) == 1:
        return Retrieved(items, {name: np.ones(len(items), bool) for name in parts})
    origins = {
        name: pc.is_in(items, value_set=proposed).to_numpy(zero_copy_only=False) for name, proposed in parts.items()
    }
    return Retrieved(items, origins)


def user_key(user: UserId, rows: int) -> pa.Array:
    """Return the user as a column of its type."""
    if isinstance(user, int):
        return pa.array(np.full(rows, user, np.int64))
    return pa.repeat(pa.scalar(user, pa.string()), rows)


def _weights_of(name: str, columns: tuple[str, ...]) -> str:
    """Return the column of weights that lies beside a column of neighbours."""
    return columns[columns.index(name) + 1]
