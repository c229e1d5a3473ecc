"""Which file of a view holds a day's rows: that of its month, or that of the month's days with cuts.

A snapshot between two midnights is a cut or the clock, and moves as the log grows; with it change its rows and those of
the midnight after it. These days lie apart, so that what has not moved need not be written again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from feature_repo.building.snapshots import DAY

MOST: Final = 32
"""Days that lie apart, the latest ones: where every day has a cut, most are done with."""
CUTS: Final = "-cuts"


@dataclass(frozen=True)
class Layout:
    """`apart`: the days, numbered from 1970-01-01 and ascending, that do not lie in the file of their month."""

    apart: np.ndarray

    @classmethod
    def of(cls, snapshots: np.ndarray) -> Self:
        """Return the layout for snapshots (int64 microseconds)."""
        between = np.unique(snapshots[snapshots % DAY != 0] // DAY)
        return cls(np.union1d(between, between + 1)[-MOST:])

    def files(self, days: Iterable[int]) -> dict[str, list[int]]:
        """Return some days by the name of the file that holds their rows."""
        listed = np.fromiter(days, np.int64)
        months = listed.astype("datetime64[D]").astype("datetime64[M]").astype(str).tolist()
        found: dict[str, list[int]] = {}
        for month, day, apart in zip(months, listed.tolist(), np.isin(listed, self.apart).tolist(), strict=True):
            found.setdefault(f"{month}{CUTS if apart else ''}.parquet", []).append(day)
        return found

    def days_apart_here_or_there(self, other: Layout) -> np.ndarray:
        """Return the days whose rows lie in another file in another layout."""
        return np.setxor1d(self.apart, other.apart)
