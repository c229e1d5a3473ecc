"""Where whole numbers stand among others: by a table of the numbers between them, by search where they are sparse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

_SPARSE: Final = 4
"""A table has at most so many cells for each number."""


@dataclass(frozen=True)
class NumberPlaces:
    """Ascending numbers (int64, at least one), indexed once.

    >>> NumberPlaces.of(np.array([3, 5])).find(np.array([5, 4, 3])).tolist()
    [1, 2, 0]
    """

    numbers: np.ndarray
    table: np.ndarray | None

    @classmethod
    def of(cls, numbers: np.ndarray) -> Self:
        count = int(numbers[-1]) - int(numbers[0]) + 1
        if count > _SPARSE * len(numbers):
            return cls(numbers, None)
        table = np.full(count + 1, len(numbers), np.int64)
        table[numbers - numbers[0]] = np.arange(len(numbers))
        return cls(numbers, table)

    def find(self, wanted: np.ndarray) -> np.ndarray:
        """Return the place of each number (int64), the one behind the last for a number that is not there."""
        if self.table is not None:
            # As unsigned numbers those before the first one are great, too: all find the last cell.
            beyond = np.uint64(len(self.table) - 1)
            return self.table[np.minimum((wanted - self.numbers[0]).view(np.uint64), beyond)]
        found = np.minimum(np.searchsorted(self.numbers, wanted), len(self.numbers) - 1)
        return np.where(self.numbers[found] == wanted, found, len(self.numbers))
