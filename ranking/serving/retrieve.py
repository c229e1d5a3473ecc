"""The first stage of a request: which items are looked at, and who proposed them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.columns import USER
from feature_repo.first_stage import CANDIDATE_ITEMS, HISTORY_ITEMS, USER_CANDIDATES
from feature_repo.on_demand.lists import RowLists
from ranking.serving.catalogue import Catalogue, ascending
from ranking.serving.features import FeatureReader
from ranking.serving.neighbours import NeighbourIndex
from ranking.serving.request import EXPLORATION, NEIGHBOURS, POPULAR, STORED, UserId

if TYPE_CHECKING:
    from feature_repo.config import ServingConfig


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
    index: NeighbourIndex

    @classmethod
    def open(cls, reader: FeatureReader, catalogue: Catalogue, settings: ServingConfig, now: datetime) -> Self:
        return cls(reader, catalogue, settings, NeighbourIndex.read(reader, catalogue, now))

    def retrieve(self, user: UserId, now: datetime, explore: int, seed: int) -> Retrieved:
        """Return the candidates of a user; `explore`: how many items beyond them to try."""
        return self.retrieve_many([user], now, explore, seed)[0]

    def retrieve_many(self, users: Sequence[UserId], now: datetime, explore: int, seed: int) -> list[Retrieved]:
        """Return the candidates of each user."""
        stored, history = self._stored(users, now)
        stored, near = stored.first(self.settings.max_candidates), self._near(history)
        parts = {STORED: stored, NEIGHBOURS: near}
        if explore:
            tried = [self.catalogue.places(self._explored(user, explore, seed)) for user in users]
            parts[EXPLORATION] = _Places.joined(tried)
        known = (stored.lengths + near.lengths > 0).tolist()
        merged = self._union(parts, len(users))
        return [
            own if is_known else self._popular(history.of(number))
            for number, (own, is_known) in enumerate(zip(merged, known, strict=True))
        ]

    def neighbours(self, items: pa.Array, most: int) -> tuple[pa.Array, np.ndarray]:
        """Return what goes with these items by the published neighbour lists, best first, and summed weights.

        Every source's weights count in shares of its greatest one; `items` themselves are left out.
        """
        places = self.catalogue.places(items)
        _, near, weights = self.index.nearest(np.zeros(len(places), np.int64), places, 1, most)
        return self.catalogue.items.take(pa.array(near)), weights

    def _near(self, history: _Places) -> _Places:
        latest, most = history.first(self.settings.latest_events), self.settings.neighbours
        groups = len(latest.lengths)
        owner, near, _ = self.index.nearest(latest.owner, latest.values, groups, most)
        return _Places(np.searchsorted(owner, np.arange(groups + 1)), near)

    def _stored(self, users: Sequence[UserId], now: datetime) -> tuple[_Places, _Places]:
        """Return the stored candidates in the order of retrieval, and the history's items, latest first."""
        nothing = _Places(np.zeros(len(users) + 1, np.int64), np.zeros(0, np.int64))
        columns = [CANDIDATE_ITEMS] if USER_CANDIDATES in self.reader.views else []
        columns += [HISTORY_ITEMS] if self.reader.has(HISTORY_ITEMS) else []
        if not columns:
            return nothing, nothing
        keys = user_key(users[0], 1) if len(users) == 1 else pa.array(users)
        found = self.reader.read(columns, {USER: keys}, now)
        places = {name: _Places.read(found.array(name), self.catalogue) for name in columns}
        return places.get(CANDIDATE_ITEMS, nothing), places.get(HISTORY_ITEMS, nothing)

    def _union(self, parts: dict[str, _Places], users: int) -> list[Retrieved]:
        """Merge each user's proposed places into ascending distinct items with everyone who proposed them."""
        width = len(self.catalogue.items)
        marks = np.zeros(users * width, np.uint8)
        for bit, places in enumerate(parts.values()):
            marks[places.owner * width + places.values] |= np.uint8(1 << bit)
        chosen = np.flatnonzero(marks)
        marks, starts = marks[chosen], np.searchsorted(chosen, np.arange(users + 1) * width).tolist()
        items = self.catalogue.items.take(pa.array(chosen % max(width, 1)))
        proposed = {name: marks & np.uint8(1 << bit) != 0 for bit, name in enumerate(parts)}
        return [
            Retrieved(
                items.slice(start, end - start),
                {name: proposed[name][start:end] for name, places in parts.items() if places.lengths[number]},
            )
            for number, (start, end) in enumerate(pairwise(starts))
        ]

    def _popular(self, history: np.ndarray) -> Retrieved:
        items, scores = self.catalogue.popular()
        if len(history):
            latest = self.catalogue.items.take(pa.array(history[: self.settings.latest_events]))
            fresh = pc.invert(pc.is_in(items, value_set=latest))
            items, scores = items.filter(fresh), scores[fresh.to_numpy(zero_copy_only=False)]
        order = pc.sort_indices(items)
        return Retrieved(items.take(order), {POPULAR: np.ones(len(items), bool)}, scores[order.to_numpy()])

    def _explored(self, user: UserId, count: int, seed: int) -> pa.Array:
        pool = self.catalogue.explorable()
        rng = np.random.default_rng([abs(seed), zlib.crc32(str(user).encode())])
        return pool.take(pa.array(rng.choice(len(pool), min(4 * count, len(pool)), replace=False)))


@dataclass(frozen=True)
class _Places:
    """A list of places in the catalogue per user: `values[starts[i]:starts[i + 1]]`."""

    starts: np.ndarray
    values: np.ndarray

    @classmethod
    def read(cls, column: pa.ListArray, catalogue: Catalogue) -> Self:
        """Read lists of items; those that the catalogue does not have are left out."""
        lists = RowLists.of(column)
        places = catalogue.places(lists.values)
        known = places >= 0
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(known)])
        return cls(before[np.append(lists.starts, len(places))], places[known])

    @classmethod
    def joined(cls, lists: Sequence[np.ndarray]) -> Self:
        starts = np.cumsum([0, *map(len, lists)])
        return cls(starts, np.concatenate(lists))

    @cached_property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    @property
    def owner(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def of(self, number: int) -> np.ndarray:
        return self.values[self.starts[number] : self.starts[number + 1]]

    def first(self, count: int) -> _Places:
        """Return the first values of each list."""
        kept = np.arange(len(self.values)) - self.starts[self.owner] < count
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
        return _Places(before[self.starts], self.values[kept])


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
