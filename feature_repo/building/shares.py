"""A large log dealt into ranges of a key: each is computed by itself, and laid end to end their rows are in order."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.columns import ITEM, USER
from feature_repo.lake import parquet, quote

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

PART: Final = 1 << 20
"""Events of a range of keys, at least; one key may have more."""
MOST_RANGES: Final = 256
"""Each range is a file that is open while the log is dealt, by two keys at a time; a system may allow 1,024 in all."""
PARTS_TOGETHER: Final = 4
"""Ranges in a share of a view whose rows are small."""
BATCH: Final = 1 << 21
"""Events that are dealt at a time."""
EVENTS: Final = "events"
PLACE: Final = "range_place"


@dataclass(frozen=True)
class Share:
    """The keys in [low, high), None where there is no bound, and the relation that holds their events."""

    key: str
    low: int | str | None = None
    high: int | str | None = None
    relation: str = EVENTS

    def of(self, relation: str) -> str:
        """Return the query of a relation's rows with these keys."""
        bounds = [f"{self.key} {sign} {_literal(bound)}" for sign, bound in self._bounds if bound is not None]
        return f"SELECT * FROM {relation}" + (f" WHERE {' AND '.join(bounds)}" if bounds else "")

    @property
    def _bounds(self) -> list[tuple[str, int | str | None]]:
        return [(">=", self.low), ("<", self.high)]


WHOLE: Final = (Share(""),)
"""The log as it is, for one that is not large."""


@dataclass(frozen=True)
class Dealt:
    """The log by ranges of one key. `starts`: the number of each range and the key that it begins with, ascending."""

    key: str
    folder: Path
    starts: Sequence[tuple[int, int | str]]

    def fine(self) -> list[Share]:
        """Return a share for each range."""
        return self._shares(range(len(self.starts)))

    def coarse(self) -> list[Share]:
        """Return a share for some ranges together."""
        numbers = [number // PARTS_TOGETHER for number, _ in self.starts]
        return self._shares(sorted({number: place for place, number in reversed(list(enumerate(numbers)))}.values()))

    def path(self, place: int) -> Path:
        """Return the file of a range by its place."""
        return self.folder / f"{place:06d}.parquet"

    def _shares(self, firsts: Sequence[int]) -> list[Share]:
        """Return shares that begin with the ranges of some places."""
        bounds = [None, *(self.starts[place][1] for place in firsts[1:]), None]
        ends = [*firsts[1:], len(self.starts)]
        files = [parquet([str(self.path(place)) for place in range(*span)]) for span in zip(firsts, ends, strict=True)]
        return [Share(self.key, *share) for share in zip(bounds[:-1], bounds[1:], files, strict=True)]


@contextmanager
def dealt(workspace: Workspace, keys: Sequence[str]) -> Iterator[dict[str, Dealt]]:
    """Deal the log by each of some keys, users or items, into files that are removed in the end."""
    folder = workspace.data_dir / "spill" / "dealt"
    try:
        with ThreadPoolExecutor(max(len(keys), 1)) as pool:
            logs = list(pool.map(lambda key: _deal(workspace, key, folder / key), keys))
        yield dict(zip(keys, logs, strict=True))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def range_events(events: int) -> int:
    """Return how many events a range of so large a log has, at least."""
    return max(PART, -(-events // MOST_RANGES))


def keys_dealt(keys: Sequence[str]) -> list[str]:
    """Return those of some keys by which a log can be dealt."""
    return [key for key in (USER, ITEM) if key in keys]


def _deal(workspace: Workspace, key: str, folder: Path) -> Dealt:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with workspace.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        events = connection.execute(f"SELECT count(*) FROM {EVENTS}").fetchone()[0]
        log = Dealt(key, folder, connection.execute(_starts(key, range_events(events))).fetchall())
        place = _place(key, [start for _, start in log.starts])
        query = f"SELECT *, CAST({place} AS USMALLINT) AS {PLACE} FROM {EVENTS} WHERE {key} IS NOT NULL"
        with ExitStack() as stack:
            writers: dict[int, pq.ParquetWriter] = {}
            for batch in connection.sql(query).to_arrow_reader(BATCH):
                for number, rows in _ranges(batch):
                    if number not in writers:
                        writers[number] = stack.enter_context(_writer(log.path(number), rows.schema))
                    writers[number].write_table(rows)
    return log


def _starts(key: str, most: int) -> str:
    """Return the query of the ranges' numbers and first keys; `most`: events of a range, more where one key has."""
    return f"""
        SELECT number, min({key})
        FROM (
            SELECT {key}, CAST(sum(count(*)) OVER (ORDER BY {key}) - count(*) AS BIGINT) // {most} AS number
            FROM {EVENTS} WHERE {key} IS NOT NULL GROUP BY {key}
        )
        GROUP BY number ORDER BY number"""


def _place(key: str, starts: Sequence[int | str], first: int = 0) -> str:
    """Return the SQL of the place that a key has among some starts: halves of halves, a few comparisons a row."""
    if len(starts) <= 1:
        return str(first)
    half = len(starts) // 2
    below, above = _place(key, starts[:half], first), _place(key, starts[half:], first + half)
    return f"CASE WHEN {key} < {_literal(starts[half])} THEN {below} ELSE {above} END"


def _ranges(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.Table]]:
    """Yield the rows of each range that a batch has, in the order in which they came."""
    places = batch.column(PLACE).to_numpy()
    rows = _encoded(batch.drop_columns([PLACE])).take(np.argsort(places, kind="stable"))
    counts = np.bincount(places)
    ends = np.cumsum(counts)
    for number in np.flatnonzero(counts).tolist():
        yield number, rows.slice(ends[number] - counts[number], counts[number])


def _encoded(batch: pa.RecordBatch) -> pa.Table:
    """Return a batch whose texts, but for ids, are codes: few and short, they are moved in a fraction of the time."""
    columns = {
        name: column.dictionary_encode() if pa.types.is_string(column.type) and name not in (USER, ITEM) else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    return pa.table(columns)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    texts = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    return pq.ParquetWriter(path, schema, compression="snappy", use_dictionary=texts)


def _literal(bound: int | str) -> str:
    return quote(bound) if isinstance(bound, str) else str(bound)
