"""The latest row of each key, found and read some rows at a time: what is held is bounded, however many keys there are.

Rows that lie in ascending order of their keys, as stage one writes its views, are each the only one of its key and are
read as they lie. Others are first chosen by their keys and times alone, a range of keys at a time; where many are left,
they are sorted into files by ranges of keys, so that each range is read in one piece.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from feature_repo.stores.asof import stable_argsort, time_order
from feature_repo.stores.key_order import piece_numbers, quantiles, strictly_ascending
from feature_repo.stores.keys import KeyCodes, comparable, normalise
from feature_repo.stores.sources import Scan
from feature_repo.stores.times import finest_unit, to_ticks

PIECE_ROWS: Final = 1 << 19
"""So many rows are read with all their columns at once, about; a row group may have more."""
CHOSEN_ROWS: Final = 1 << 22
"""So many rows are compared by key and time at once, about; a key's rows are compared together."""
_SAMPLED: Final = 1 / 512


@dataclass(frozen=True)
class KeyOrder:
    """How a source's rows lie: how many there are, whether in ascending order of their keys, and some first keys."""

    rows: int
    ascending: bool
    sample: list[pa.Array]

    def bounds(self, piece_rows: int, rows: int) -> pa.Array:
        """Return first keys that cut `rows` rows into ranges of about `piece_rows`."""
        pieces = min(-(-rows // piece_rows), sum(map(len, self.sample)))
        return quantiles(self.sample, pieces) if pieces > 1 else pa.array([], self.sample[0].type)


@dataclass(frozen=True)
class LatestRows:
    """Per key the row with the latest (event, created, place in the file) among those whose event lies in a range.

    `low` and `high` are ticks of the finest unit of both clocks, inclusive. Rows with a null in their key are left out.
    """

    scan: Scan
    keys: tuple[str, ...]
    time: str
    created: str | None
    low: int
    high: int
    where: str
    spill: Path
    piece_rows: int = field(default_factory=lambda: PIECE_ROWS)
    chosen_rows: int = field(default_factory=lambda: CHOSEN_ROWS)

    def parts(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield these columns of the rows, keys and times among them: many by key, else in the order of the file."""
        if not self.keys:
            yield from (part for _, part in self.scan.batches(columns, self._chosen(None)))
            return
        order = self._order()
        if order.ascending:
            yield from self._as_they_lie(columns) if order.rows else []
            return
        rows = self._chosen(order)
        parts = (part for _, part in self.scan.batches(columns, rows))
        if len(rows) <= self.piece_rows:
            yield from [pa.concat_tables(parts)] if len(rows) else []
            return
        yield from self._by_key(parts, order.bounds(self.piece_rows, len(rows)))

    def _order(self) -> KeyOrder:
        """Look at all keys once; rows that are read at once anyway need no sample."""
        rng, few = np.random.default_rng(0), self.scan.rows <= min(self.piece_rows, self.chosen_rows)
        rows, ascending, sample, last = 0, True, [], None
        for _, table in self.scan.batches(self._narrow):
            keys = self._keys(table, self._counted(table))
            if not len(keys[0]):
                continue
            ascending = ascending and _goes_on(last, keys)
            if few and not ascending:
                break
            rows, last = rows + len(keys[0]), [key.slice(len(key) - 1) for key in keys]
            picked = rng.random(len(keys[0])) < _SAMPLED
            picked[0] = True
            sample.append(keys[0].filter(pa.array(picked)))
        return KeyOrder(rows, ascending, sample)

    def _as_they_lie(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        for _, table in self.scan.batches(columns):
            rows = self._counted(table)
            yield table if len(rows) == table.num_rows else table.take(pa.array(rows))

    def _chosen(self, order: KeyOrder | None) -> np.ndarray:
        """Return the numbers of the latest rows, ascending."""
        latest = np.zeros(self.scan.rows, bool)
        bounds = order.bounds(self.chosen_rows, order.rows) if order is not None and order.rows else None
        for piece in range(1 if bounds is None else len(bounds) + 1):
            numbers, parts = [], []
            for start, table in self.scan.batches(self._narrow):
                rows = self._counted(table)
                if bounds is not None and len(bounds):
                    (first,) = self._keys(table, rows, 1)
                    rows = rows[piece_numbers(first, bounds) == piece]
                numbers.append(start + rows)
                parts.append(table.take(pa.array(rows)))
            if parts:
                latest[np.concatenate(numbers)[self._latest_of(pa.concat_tables(parts))]] = True
        return np.flatnonzero(latest)

    def _latest_of(self, table: pa.Table) -> np.ndarray:
        """Return which of these rows are the latest of their keys."""
        codes = np.zeros(table.num_rows, np.int64)
        if self.keys:
            columns = [table[key] for key in self.keys]
            codes = KeyCodes(columns, [column.type for column in columns], self.where).codes
        created = self._ticks(table, self.created) if self.created else None
        order = time_order(self._ticks(table, self.time), created)
        ordered = stable_argsort(codes) if order is None else order[stable_argsort(codes[order])]
        last = np.ones(len(ordered), dtype=bool)
        last[:-1] = codes[ordered[1:]] != codes[ordered[:-1]]
        return ordered[last]

    def _by_key(self, parts: Iterable[pa.Table], bounds: pa.Array) -> Iterator[pa.Table]:
        """Sort rows into a file for each range of keys, and yield the files one after the other."""
        self.spill.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.spill) as folder:
            files = [Path(folder) / f"{number}.arrow" for number in range(len(bounds) + 1)]
            writers: dict[int, pa.RecordBatchStreamWriter] = {}
            for part in parts:
                (first,) = self._keys(part, None, 1)
                numbers = piece_numbers(first, bounds)
                for number in np.unique(numbers).tolist():
                    if number not in writers:
                        writers[number] = pa.ipc.new_stream(str(files[number]), part.schema)
                    writers[number].write_table(part.filter(pa.array(numbers == number)))
            for writer in writers.values():
                writer.close()
            for number in sorted(writers):
                with pa.memory_map(str(files[number])) as file:
                    yield pa.ipc.open_stream(file).read_all().combine_chunks()
                files[number].unlink()

    @property
    def _narrow(self) -> list[str]:
        return list(dict.fromkeys([*self.keys, self.time, *([self.created] if self.created else [])]))

    def _ticks(self, table: pa.Table, name: str) -> np.ndarray:
        clocks = [name for name in (self.time, self.created) if name]
        unit = finest_unit(*(self.scan.schema.field(clock).type for clock in clocks))
        return to_ticks(table[name], unit, self.where)

    def _counted(self, table: pa.Table) -> np.ndarray:
        """Return the numbers of the rows in the range that have a key."""
        event = self._ticks(table, self.time)
        counted = (event >= self.low) & (event <= self.high)
        for key in self._keys(table):
            if key.null_count:
                counted &= key.is_valid().to_numpy(zero_copy_only=False)
        return np.flatnonzero(counted)

    def _keys(self, table: pa.Table, rows: np.ndarray | None = None, most: int | None = None) -> list[pa.Array]:
        """Return key columns, of these rows, as they are compared."""
        columns = [table[key] for key in self.keys[:most]]
        keys = [normalise(column, comparable(column.type, column.type, self.where)) for column in columns]
        return keys if rows is None or len(rows) == table.num_rows else [key.take(pa.array(rows)) for key in keys]


def _goes_on(last: list[pa.Array] | None, keys: list[pa.Array]) -> bool:
    """Whether keys ascend, from the last row before them on."""
    if last is not None:
        seam = [pa.concat_arrays([old, key.slice(0, 1)]) for old, key in zip(last, keys, strict=True)]
        if not strictly_ascending(seam):
            return False
    return strictly_ascending(keys)
