"""Rows of one range of keys after another, each range sorted by time, read back as one table sorted by time and keys.

What exceeds a bound is laid aside on disk, a batch per day, so that a day of all ranges is read without the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from feature_repo.building.snapshots import DAY
from feature_repo.columns import TIME

HELD: Final = 1 << 28
"""Bytes that stay in memory."""
_LIGHT: Final = pa.ipc.IpcWriteOptions(compression="lz4")


class Runs:
    """Tables whose keys ascend from one to the next. `folder` is where they are laid aside; `close` removes that."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: list[tuple[pa.Table, dict[int, slice]]] = []
        self._aside: list[tuple[Path, dict[int, int]]] = []

    def add(self, table: pa.Table) -> None:
        """Take the rows of the next range of keys, sorted by time, then keys."""
        if table.num_rows:
            self._held.append((table, _days(table)))
            if sum(held.nbytes for held, _ in self._held) > HELD:
                self._lay_aside()

    def days(self) -> list[int]:
        """Return the days, numbered from 1970-01-01, that have rows."""
        return sorted({day for _, days in (*self._aside, *self._held) for day in days})

    def read(self, days: Iterable[int]) -> Iterator[pa.Table]:
        """Yield the rows of some days in order, in one table or more."""
        opened = [(pa.ipc.open_file(pa.OSFile(str(path))), places) for path, places in self._aside]
        for day in days:
            tables = [pa.Table.from_batches([file.get_batch(places[day])]) for file, places in opened if day in places]
            tables += [
                table.slice(days[day].start, days[day].stop - days[day].start)
                for table, days in self._held
                if day in days
            ]
            yield _by_time(tables)

    def close(self) -> None:
        for path, _ in self._aside:
            path.unlink(missing_ok=True)

    def _lay_aside(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for table, days in self._held:
            path = self._folder / f"run-{len(self._aside):06d}.arrow"
            with pa.ipc.new_file(path, table.schema, options=_LIGHT) as writer:
                for rows in days.values():
                    day = table.slice(rows.start, rows.stop - rows.start).combine_chunks()
                    writer.write_table(day, max_chunksize=day.num_rows)
            self._aside.append((path, {day: place for place, day in enumerate(days)}))
        self._held.clear()


def _days(table: pa.Table) -> dict[int, slice]:
    """Return which rows lie in each day of a table that is sorted by time."""
    days = _times(table) // DAY
    starts = np.flatnonzero(np.diff(days, prepend=days[0] - 1))
    ends = [*starts[1:].tolist(), len(days)]
    return {int(days[start]): slice(start, end) for start, end in zip(starts.tolist(), ends, strict=True)}


def _by_time(tables: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables(tables)
    times = _times(table)
    if (times[1:] >= times[:-1]).all():
        return table
    return table.combine_chunks().take(np.argsort(times, kind="stable"))


def _times(table: pa.Table) -> np.ndarray:
    return table[TIME].cast(pa.int64()).to_numpy()
