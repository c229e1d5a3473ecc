"""Neighbours of items: against a slow sum over lists, and turned round where a source's weights have a direction."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.columns import ITEM
from ranking.serving.catalogue import Catalogue
from ranking.serving.neighbours import NeighbourIndex

NOW = datetime(2024, 6, 1, tzinfo=UTC)
Lists = dict[int, dict[int, float]]


class Reader:
    """Stands in for the store: the lists of items, by source."""

    def __init__(self, sources: dict[str, Lists]) -> None:
        self._sources = sources
        columns = [name for source in sources for name in (f"{source}_neighbours", f"{source}_neighbour_weights")]
        self.views = {"item_neighbours": (*columns, "item_neighbours_cut")} if sources else {}

    def read(self, columns: list[str], entities: dict[str, pa.Array], now: datetime) -> SimpleNamespace:
        arrays = {}
        for name in columns:
            source, _, what = name.rpartition("_neighbour")
            lists = [self._sources[source].get(item) for item in entities[ITEM].to_pylist()]
            ids, kind = what == "s", pa.list_(pa.int64() if what == "s" else pa.float32())
            arrays[name] = pa.array([one if one is None else list(one if ids else one.values()) for one in lists], kind)
        return SimpleNamespace(array=arrays.__getitem__)


def index_of(items: list[int], sources: dict[str, Lists]) -> tuple[NeighbourIndex, Catalogue]:
    titles = pa.nulls(len(items), pa.string())
    catalogue = Catalogue(None, pa.array(items, pa.int64()), titles, np.ones(len(items), bool), "int64", "int64")
    return NeighbourIndex.read(Reader(sources), catalogue, NOW), catalogue


def nearest(index: NeighbourIndex, catalogue: Catalogue, groups: list[list[int]], most: int) -> list[dict[int, float]]:
    places = catalogue.places(pa.array([item for group in groups for item in group], pa.int64()))
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    found: list[dict[int, float]] = [{} for _ in groups]
    for group, place, weight in zip(*index.nearest(owner, places, len(groups), most), strict=True):
        found[group][catalogue.items[place].as_py()] = weight
    return found


def test_a_list_that_has_a_direction_is_turned_round() -> None:
    """7 leads to 8 and 9, 8 to 9: the store lists at an item what leads to it."""
    follows = {8: {7: 2.0}, 9: {8: 1.0, 7: 0.5}}
    index, catalogue = index_of([7, 8, 9], {"next_item": follows})
    assert nearest(index, catalogue, [[7], [8], [9]], 5) == [{8: 1.0, 9: 0.25}, {9: 1.0}, {}]


def test_a_list_that_is_the_same_both_ways_stays() -> None:
    alike = {7: {8: 2.0, 9: 1.0}, 8: {7: 2.0}, 9: {}}
    index, catalogue = index_of([7, 8, 9], {"knn": alike})
    assert nearest(index, catalogue, [[7], [9]], 5) == [{8: 1.0, 9: 0.5}, {}]


@pytest.mark.parametrize("seed", range(5))
def test_sums_are_those_of_the_slow_version(seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = sorted(rng.choice(100, 12, replace=False).tolist())
    sources: dict[str, Lists] = {}
    for source in ("b", "a"):
        alike = np.triu(rng.integers(1, 50, (12, 12)) / 8, 1)
        alike += alike.T
        sources[source] = {
            items[i]: {items[j]: alike[i, j] for j in np.argsort(-alike[i], kind="stable")[: rng.integers(0, 5)]}
            for i in range(12) if rng.random() < 0.9
        }  # fmt: skip
        sources[source][items[0]], sources[source][items[1]] = {items[1]: 9.0}, {items[0]: 9.0}
    index, catalogue = index_of(items, sources)
    groups = [rng.choice([*items, 1000], size, replace=False).tolist() for size in (1, 3, 0, 5)]
    for group, found in zip(groups, nearest(index, catalogue, groups, 4), strict=True):
        total: dict[int, float] = defaultdict(float)
        for lists in sources.values():
            entries = [entry for item in group for entry in lists.get(item, {}).items()]
            greatest = max((weight for _, weight in entries), default=1.0)
            for item, weight in entries:
                total[item] += weight / greatest
        best = sorted((-weight, item) for item, weight in total.items() if item not in group)[:4]
        assert found == {item: pytest.approx(-weight) for weight, item in best}
        assert list(found.values()) == sorted(found.values(), reverse=True)


def test_without_published_lists_nothing_goes_with_anything() -> None:
    index, catalogue = index_of([7, 8], {})
    assert nearest(index, catalogue, [[7], []], 3) == [{}, {}]
    empty, catalogue = index_of([7, 8], {"knn": {}})
    assert nearest(empty, catalogue, [[7, 8]], 3) == [{}]
