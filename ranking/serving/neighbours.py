"""What goes with an item, by the published lists of neighbours of all sources: read off the store once.

A list of the store holds the items that speak most for its item. Where a source's weights are the same both ways, these
are also the items that go with it. Where they are not (what follows what), the lists are turned round: an item leads to
those whose lists it is in, not to those that lead to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from feature_repo.columns import ITEM
from feature_repo.first_stage import ITEM_NEIGHBOURS
from feature_repo.on_demand.lists import RowLists

if TYPE_CHECKING:
    from ranking.serving.catalogue import Catalogue
    from ranking.serving.features import FeatureReader

_Entries = tuple[np.ndarray, np.ndarray, np.ndarray]
_LIST_END: Final = "_neighbours"
_AT_ONCE: Final = 20_000


@dataclass(frozen=True)
class NeighbourIndex:
    """Neighbours of the item at place i of the catalogue: entries `starts[i]` to `starts[i + 1]`.

    `item`: their places there (int32); `weight`: float32; `source`: its number (uint8) among `sources`.
    """

    starts: np.ndarray
    item: np.ndarray
    weight: np.ndarray
    source: np.ndarray
    sources: int

    @classmethod
    def read(cls, reader: FeatureReader, catalogue: Catalogue, now: datetime) -> Self:
        """Read the lists of every item of the catalogue; without published lists nothing goes with anything."""
        columns = reader.views.get(ITEM_NEIGHBOURS, ())
        lists = {name: columns[columns.index(name) + 1] for name in columns if name.endswith(_LIST_END)}
        parts = [_directed(*own, len(catalogue.items)) for own in _entries(reader, catalogue, lists, now)]
        owner, item, weight = (
            np.concatenate([np.zeros(0, dtype), *(part[place] for part in parts)])
            for place, dtype in enumerate((np.int32, np.int32, np.float32))
        )
        source = np.repeat(np.arange(len(parts), dtype=np.uint8), [len(part[0]) for part in parts])
        order = np.argsort(owner, kind="stable")
        starts = np.searchsorted(owner[order], np.arange(len(catalogue.items) + 1))
        return cls(starts, item[order].astype(np.int32), weight[order], source[order], len(parts))

    def nearest(self, group: np.ndarray, places: np.ndarray, groups: int, most: int) -> tuple[np.ndarray, ...]:
        """Return (group, place, weight) of the `most` items that go best with each group of places, best first.

        `places` in the catalogue, -1 for an item that it does not have; `group` ascending. Every source's weights count
        in shares of its greatest one in the group; the places themselves are left out.
        """
        known = places >= 0
        group, places = group[known], places[known]
        lengths = self.starts[places + 1] - self.starts[places]
        first = np.cumsum(lengths) - lengths
        entry = np.repeat(self.starts[places] - first, lengths) + np.arange(lengths.sum())
        owner = np.repeat(group, lengths)
        # Sums of floats depend on their order: entries go source by source, as the lists of a group were read.
        by_source = _stable_order(owner * self.sources + self.source[entry], groups * self.sources)
        entry, owner = entry[by_source], owner[by_source]
        part = owner * self.sources + self.source[entry]
        weight = self.weight[entry].astype(np.float64)
        greatest = np.zeros(groups * self.sources)
        begins = np.flatnonzero(np.diff(part, prepend=-1))
        if len(begins):
            greatest[part[begins]] = np.maximum.reduceat(weight, begins)
        scale = greatest[part]
        share = np.divide(weight, scale, out=weight, where=scale > 0)
        width = len(self.starts) - 1
        keys, at = _distinct(owner * width + self.item[entry], groups * width)
        own = np.zeros(groups * width, bool)
        own[group * width + places] = True
        total, keys = np.bincount(at, share, len(keys))[~own[keys]], keys[~own[keys]]
        owner, item = np.divmod(keys, max(width, 1))
        good = _not_worse(owner, total, groups, most)
        owner, item, total = owner[good], item[good], total[good]
        best = np.lexsort((item, -total, owner))
        owner = owner[best]
        rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
        best = best[rank < most]
        return owner[rank < most], item[best], total[best]


def _stable_order(numbers: np.ndarray, size: int) -> np.ndarray:
    """Return the stable order of whole numbers below `size`; of 16 bits NumPy sorts them digit by digit."""
    return np.argsort(numbers.astype(np.min_scalar_type(max(size, 1))), kind="stable")


def _distinct(keys: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct keys, ascending, and which of them each key is; all are below `size`."""
    seen = np.zeros(size, bool)
    seen[keys] = True
    return np.flatnonzero(seen), np.cumsum(seen, dtype=np.int32)[keys] - 1


def _not_worse(owner: np.ndarray, total: np.ndarray, groups: int, most: int) -> np.ndarray:
    """Return which totals are not below the `most` greatest of their group, bool; groups are ascending."""
    least = np.full(groups, -np.inf)
    starts = np.searchsorted(owner, np.arange(groups + 1))
    for number in np.flatnonzero(np.diff(starts) > max(most, 1)).tolist():
        own = total[starts[number] : starts[number + 1]]
        least[number] = np.partition(own, len(own) - max(most, 1))[len(own) - max(most, 1)]
    return total >= least[owner]


def _entries(reader: FeatureReader, catalogue: Catalogue, lists: Mapping[str, str], now: datetime) -> list[_Entries]:
    """Return (item, listed item, weight) of each source, items as places in the catalogue (int32).

    `lists`: the column of weights by the column of ids.
    """
    parts: dict[str, list[_Entries]] = {ids: [] for ids in lists}
    for start in range(0, len(catalogue.items) if lists else 0, _AT_ONCE):
        found = reader.read([*lists, *lists.values()], {ITEM: catalogue.items.slice(start, _AT_ONCE)}, now)
        for ids, weights in lists.items():
            own = RowLists.of(found.array(ids))
            listed = catalogue.places(own.values)
            weight = found.array(weights).flatten().to_numpy(zero_copy_only=False)
            known = listed >= 0
            parts[ids].append(
                ((own.rows + start)[known].astype(np.int32), listed[known].astype(np.int32), weight[known])
            )
    return [tuple(np.concatenate(column) for column in zip(*own, strict=True)) for own in parts.values() if own]


def _directed(item: np.ndarray, listed: np.ndarray, weight: np.ndarray, items: int) -> _Entries:
    """Return (from, to, weight): as listed where weights are the same both ways, else turned round."""
    there, back = item.astype(np.int64) * items + listed, listed.astype(np.int64) * items + item
    # Both ascending: a search whose steps follow each other in memory takes a fifth of the time.
    order, turned = np.argsort(there), np.argsort(back)
    there, back = there[order], back[turned]
    place = np.minimum(np.searchsorted(there, back), len(there) - 1)
    both = there[place] == back
    if both.any() and np.allclose(weight[turned[both]], weight[order[place[both]]], rtol=1e-4):
        return item, listed, weight
    longest = int(np.bincount(item, minlength=1).max(initial=0))
    order = np.lexsort((item, -weight, listed))
    lengths = np.bincount(listed, minlength=items)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    order = order[rank < longest]
    return listed[order], item[order], weight[order]
