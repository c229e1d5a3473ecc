"""Values and keys as numbers: a vocabulary that is indexed once, and where in its list a code first stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Final, NamedTuple, Self

import numpy as np
import pyarrow as pa

from feature_repo.on_demand.columns import valid

# Whole-number ids are looked up by value where so many numbers hold them all: some 20 times as fast as hashing them.
LOOKED_UP: Final = 1 << 22
# Keys are looked up in a table where so many cells hold them all: some ten times as fast as searching them.
TABLE_CELLS: Final = 1 << 22
# So many values are looked up one by one in less time than Arrow takes to find the distinct ones.
FEW: Final = 64


@dataclass(frozen=True)
class Codes:
    """Distinct values, indexed once: by a table of the whole numbers from `low` on, else by hashes.

    >>> Codes.of(pa.array(["b", "a"])).find(pa.array(["a", "c", "b"])).tolist()
    [2, 0, 1]
    """

    size: int
    low: int
    table: np.ndarray | None
    places: Mapping[str | int, int]

    @classmethod
    def of(cls, vocabulary: pa.Array) -> Self:
        if pa.types.is_integer(vocabulary.type) and len(vocabulary):
            known = vocabulary.to_numpy(zero_copy_only=False)
            low, high = int(known.min()), int(known.max())
            if high - low < LOOKED_UP:
                table = np.zeros(high - low + 2, np.int32)
                table[known - low] = np.arange(1, len(known) + 1)
                return cls(len(known), low, table, {})
        places = {value: place for place, value in enumerate(_plain(vocabulary), 1)}
        return cls(len(vocabulary), 0, None, places)

    def find(self, values: pa.Array) -> np.ndarray:
        """Return the position of each value, from 1, as int32; 0 for one that is not there and for a null."""
        if self.table is None and len(values) <= FEW:
            return np.fromiter(map(self.places.get, _plain(values), repeat(0)), np.int32, len(values))
        if self.table is None:
            coded = values.dictionary_encode()
            distinct = coded.dictionary.to_pylist()
            place = np.fromiter(map(self.places.get, distinct, repeat(0)), np.int32, len(distinct))
            return at_indices(np.append(place, np.int32(0)), coded)
        from feature_repo import pair_loops

        given = (values.fill_null(0) if values.null_count else values).to_numpy(zero_copy_only=False)
        found = np.empty(len(given), np.int32)
        pair_loops.look_up(given.astype(np.int64, copy=False), self.low, self.table, found)
        if values.null_count:
            found[valid(values) == 0] = 0
        return found


def _plain(values: pa.Array) -> list[str | int | None]:
    """Return values as Python has them; for strings by way of NumPy, in a fifth of the time of `to_pylist`."""
    if pa.types.is_string(values.type):
        return values.to_numpy(zero_copy_only=False).tolist()
    return values.to_pylist()


def at_indices(values: np.ndarray, coded: pa.DictionaryArray) -> np.ndarray:
    """Return the value by the index of each row, the last one for a null."""
    indices = coded.indices
    if indices.null_count:
        indices = indices.fill_null(len(values) - 1)
    return values.take(indices.to_numpy(zero_copy_only=False))


class Lookup(NamedTuple):
    """Where a key first stands: in a table by key, or, where that were too large, by search in the sorted keys.

    What is not used is empty. `pair_loops.find` looks a key up.
    """

    table: np.ndarray
    keys: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, keys: np.ndarray, cells: int) -> Self:
        """Index keys (int64, below `cells`) by their positions."""
        if cells > TABLE_CELLS:
            order = np.argsort(keys, kind="stable")
            return cls(np.empty(0, np.int32), keys[order], order)
        table = np.full(cells, -1, np.int32)
        table[keys[::-1]] = np.arange(len(keys) - 1, -1, -1)  # of equal keys the last one written stays: the first
        return cls(table, keys[:0], keys[:0])
