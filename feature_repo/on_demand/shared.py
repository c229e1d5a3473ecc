"""Columns whose values several rows share: each value once, and what is derived from it no more often than that."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Made = TypeVar("Made")


@dataclass(frozen=True)
class Values:
    """An Arrow array and all that was derived from it; whoever keeps the one keeps the other."""

    array: pa.Array
    _made: dict[Hashable, object] = field(default_factory=dict, compare=False)

    def made(self, what: Hashable, make: Callable[[pa.Array], Made]) -> Made:
        """Return `make(array)`, made once for each `what`."""
        if what not in self._made:
            self._made[what] = make(self.array)
        return self._made[what]


@dataclass(frozen=True)
class Shared:
    """A column: `row` numbers the value of each row (int64), None for one each."""

    values: Values
    row: np.ndarray | None = None

    @classmethod
    def of(cls, column: pa.DictionaryArray) -> Self:
        """Read a dictionary array; of its values only those stay that a row names, and a null where a row has none."""
        size, indices = len(column.dictionary), column.indices
        wanted = (pc.fill_null(indices, size) if indices.null_count else indices).to_numpy(zero_copy_only=False)
        used = np.zeros(size + 1, bool)
        used[wanted] = True
        if used[:size].all() and not used[size]:
            return cls(Values(column.dictionary), wanted.astype(np.int64, copy=False))
        kept = np.flatnonzero(used)
        chosen = pa.array(kept, mask=kept == size)
        return cls(Values(column.dictionary.take(chosen)), (np.cumsum(used) - 1)[wanted])

    def slice(self, start: int, length: int) -> Self:
        """Return some of the rows."""
        return type(self)(self.values, self.numbers[start : start + length])

    def __len__(self) -> int:
        return len(self.values.array) if self.row is None else len(self.row)

    @property
    def type(self) -> pa.DataType:
        return self.values.array.type

    def plain(self) -> pa.Array:
        """Return the value of each row."""
        return self.values.array if self.row is None else self.values.array.take(pa.array(self.row))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Give every row what was derived from its value."""
        return values if self.row is None else values.take(self.row)

    @property
    def numbers(self) -> np.ndarray:
        """The number of each row's value."""
        return np.arange(len(self.values.array)) if self.row is None else self.row


Column = pa.Array | Shared


def derived(column: Column, what: Hashable, make: Callable[[pa.Array], np.ndarray]) -> np.ndarray:
    """Return what an elementwise function gives for each row."""
    if isinstance(column, Shared):
        return column.spread(column.values.made(what, make))
    return make(column)
