"""The point-in-time join of one view: choose rows by key and time alone, fetch the features of just those.

First the narrow columns are read (join keys, event time, created time), in the row groups that the entity frame's
times and the ttl can reach, and matched (asof.py). Then the features are read a few columns at a time, and of each
row group only the rows that won are kept, once each, however often the entity frame asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.errors import ContractError
from feature_repo.stores.asof import AsofIndex, Moments, Versions, stable_argsort
from feature_repo.stores.keys import KeyCodes
from feature_repo.stores.sources import Scan
from feature_repo.stores.times import NEVER, Unit, finest_unit, ticks_of, to_ticks
from feature_repo.stores.view_spec import Feature, ViewSpec

# Small enough that the allocator hands out the same memory again: fresh pages cost more than the work on them.
QUESTIONS_AT_ONCE = 1 << 18
ROWS_AT_ONCE = 1 << 18
BYTES_PER_VERSION = 64  # what one candidate row costs while the index over it is built
FETCH_BYTES = 1 << 27


@dataclass(frozen=True)
class Matches:
    """The answer for one view: the source rows that won (sorted, distinct) and, per entity row, which one or -1."""

    scan: Scan
    rows: np.ndarray
    positions: np.ndarray


class EntityTimes:
    """The times of the entity frame, in whichever unit a view needs."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.column = column
        self._moments: dict[Unit, Moments] = {}

    def moments(self, unit: Unit) -> Moments:
        if unit not in self._moments:
            self._moments[unit] = Moments.of(to_ticks(self.column, unit, "entity frame, event time"))
        return self._moments[unit]


def match(spec: ViewSpec, scan: Scan, entities: pa.Table, times: EntityTimes, *, strict: bool, budget: int) -> Matches:
    """Find for every entity row the row of the view that was the latest one visible at its time.

    `budget` bounds the bytes of the index: a larger view is matched in several passes, a share of the keys in each.
    """
    narrow = Narrow.of(spec, scan, times, strict)
    codes = _key_codes(spec, scan.schema, entities)
    size = entities.num_rows
    scan = narrow.prune(scan, codes)
    if narrow.window is None or not scan.rows:
        return Matches(scan, np.empty(0, np.int64), np.full(size, -1, np.int32))
    positions = np.full(size, -1, dtype=np.int64)
    chosen: list[np.ndarray] = []
    passes = min(max(-(-scan.rows * BYTES_PER_VERSION // budget), 1), 1 << 10)
    edges = np.linspace(0, 1 if codes is None else len(codes), passes + 1).astype(np.int64)
    for low, high in pairwise(edges.tolist()):
        versions, numbers = narrow.load(scan, codes, range(low, high))
        index = AsofIndex(versions, strict=strict)
        found = narrow.of_newest_cut(_ask(index, codes, size, narrow, range(low, high)), versions)
        won = np.zeros(len(versions) + 1, dtype=bool)
        won[found] = True  # the last one, -1, stands for "no row"
        won[-1] = False
        winners = np.flatnonzero(won)
        place = np.full(len(won), -1, dtype=np.int64)
        place[winners] = np.arange(len(winners)) + sum(map(len, chosen))
        np.maximum(positions, place[found], out=positions)
        chosen.append(numbers[winners])
    return _in_file_order(scan, np.concatenate(chosen), positions)


def fetch(matches: Matches, features: list[Feature]) -> pa.Table:
    """Read features of the rows that won, in file order, under their output names and in their declared types."""
    columns = list(dict.fromkeys(feature.column for feature in features))
    parts = [table for _, table in matches.scan.batches(columns, matches.rows)]
    schema = pa.schema([matches.scan.schema.field(name) for name in columns])
    table = pa.concat_tables(parts) if parts else schema.empty_table()
    arrays = [conform(table[feature.column], feature) for feature in features]
    return pa.table(arrays, names=[feature.output for feature in features])


def column_groups(spec: ViewSpec, schema: pa.Schema, rows: int) -> Iterator[list[Feature]]:
    """Split the features so that one group of columns of so many rows stays small in memory."""
    group: list[Feature] = []
    width = 0
    for feature in spec.features:
        cost = rows * _width(schema.field(feature.column).type)
        if group and width + cost > FETCH_BYTES:
            yield group
            group, width = [], 0
        group.append(feature)
        width += cost
    if group:
        yield group


def conform(column: pa.ChunkedArray, feature: Feature) -> pa.ChunkedArray:
    """Cast a stored column to its declared type; NaN in a column declared whole is null.

    Raises ContractError where a value does not fit.
    """
    declared = feature.declared
    if declared is None or column.type == declared:
        return column
    if pa.types.is_floating(column.type) and pa.types.is_integer(declared):
        column = pc.if_else(pc.is_nan(column), None, column)
    try:
        return column.cast(declared)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ContractError(
            f"feature {feature.output}",
            expected=f"values of the declared type {declared}",
            got=f"{column.type}: {error}",
            fix="Correct the view's schema or its data.",
        ) from error


@dataclass(frozen=True)
class Narrow:
    """Which rows of a view can be visible at all: the columns that tell, and the window of event ticks.

    `window` is None where the entity frame has no time at all. `cuts`: the view's sorted distinct cuts as ticks, where
    only rows of the newest one count, else None.
    """

    spec: ViewSpec
    unit: Unit
    moments: Moments
    window: tuple[int, int] | None
    ttl: int | None
    strict: bool
    cuts: np.ndarray | None

    @classmethod
    def of(cls, spec: ViewSpec, scan: Scan, times: EntityTimes, strict: bool) -> Narrow:
        clocks = [scan.schema.field(name).type for name in (spec.time, spec.created) if name]
        unit = finest_unit(*clocks)
        moments = times.moments(unit)
        known = moments.distinct[moments.distinct != NEVER]
        ttl = None if spec.ttl is None else ticks_of(spec.ttl, unit)
        window = None
        if len(known):
            window = (NEVER + 1 if ttl is None else int(known[0]) - ttl, int(known[-1]))
        cuts = _cut_ticks(spec, scan, unit) if spec.newest_cut_only else None
        return cls(spec, unit, moments, window, ttl, strict and spec.created is not None, cuts)

    def prune(self, scan: Scan, codes: KeyCodes | None) -> Scan:
        """Leave out row groups that neither the times nor the keys of the entity frame can reach."""
        if self.window is None:
            return scan
        low, high = self.window
        bounds: dict[str, tuple[int, int]] = {}
        if finest_unit(scan.schema.field(self.spec.time).type) == self.unit:
            bounds[self.spec.time] = (low, high)
        key_range = None if codes is None else codes.integer_range()
        if key_range and pa.types.is_integer(scan.schema.field(self.spec.keys[0][0]).type):
            bounds[self.spec.keys[0][0]] = key_range
        return scan.prune(bounds)

    def load(self, scan: Scan, codes: KeyCodes | None, share: range) -> tuple[Versions, np.ndarray]:
        """Read the rows whose key code lies in `share` and whose time can matter, with their numbers."""
        size = ROWS_AT_ONCE if codes is None else max(ROWS_AT_ONCE, 2 * len(codes))
        kept = [self._keep(start, table, codes, share) for start, table in self._large_batches(scan, size)]
        if not kept:
            return Versions(*(np.empty(0, np.int64),) * 2, None), np.empty(0, np.int64)
        code, event, numbers = (np.concatenate(part) for part in list(zip(*kept, strict=True))[:3])
        created = None
        if any(part.created is not None for part in kept):
            created = np.concatenate([part.event if part.created is None else part.created for part in kept])
        return Versions(code, event, created), numbers

    def of_newest_cut(self, found: np.ndarray, versions: Versions) -> np.ndarray:
        """Void the answers that are older than the newest cut at their time: a later fit left those keys out."""
        if self.cuts is None or not len(versions):
            return found
        newest = np.searchsorted(self.cuts, self.moments.distinct, side="right") - 1
        since = np.where(newest >= 0, self.cuts[newest], NEVER)[self.moments.inverse]
        return np.where((found >= 0) & (versions.event[found] >= since), found, -1)

    def _large_batches(self, scan: Scan, size: int) -> Iterator[tuple[int, pa.Table]]:
        """Join small row groups: a look-up of keys costs its set-up once per batch."""
        columns = list(dict.fromkeys([*(key for key, _ in self.spec.keys), self.spec.time]))
        if self.spec.created and self.spec.created not in columns:
            columns.append(self.spec.created)
        held: list[pa.Table] = []
        first = rows = 0
        for start, table in scan.batches(columns):
            if not held:
                first = start
            held.append(table)
            rows += table.num_rows
            if rows >= size:
                yield first, pa.concat_tables(held)
                held, rows = [], 0
        if held:
            yield first, pa.concat_tables(held)

    def _keep(self, start: int, table: pa.Table, codes: KeyCodes | None, share: range) -> Kept:
        low, high = self.window
        where = f"view {self.spec.name}"
        event = to_ticks(table[self.spec.time], self.unit, f"{where}, column {self.spec.time}")
        keep = (event >= low) & (event <= high)
        created = None
        if self.spec.created:
            created = to_ticks(table[self.spec.created], self.unit, f"{where}, column {self.spec.created}")
            if self.strict:
                keep &= (created <= high) & (created != NEVER)
            if np.array_equal(created, event):
                created = None  # rows written at their event time hide nothing and break no tie
        if codes is None:
            code = np.zeros(len(event), dtype=np.int32)
        else:
            code = codes.encode([table[key] for key, _ in self.spec.keys])
            keep &= (code >= share.start) & (code < share.stop)
        numbers = np.int32 if start + len(event) < 2**31 else np.int64
        if keep.all():
            return Kept(code, event, np.arange(start, start + len(event), dtype=numbers), created)
        rows = np.flatnonzero(keep)
        return Kept(code[rows], event[rows], (rows + start).astype(numbers), None if created is None else created[rows])


class Kept(NamedTuple):
    """Rows of one batch that may answer: key code, event tick, number, created tick (None: equal to the event)."""

    code: np.ndarray
    event: np.ndarray
    numbers: np.ndarray
    created: np.ndarray | None


def _key_codes(spec: ViewSpec, schema: pa.Schema, entities: pa.Table) -> KeyCodes | None:
    if not spec.keys:
        return None
    columns = [entities[name] for _, name in spec.keys]
    return KeyCodes(columns, [schema.field(key).type for key, _ in spec.keys], f"view {spec.name}, entity frame")


def _cut_ticks(spec: ViewSpec, scan: Scan, unit: Unit) -> np.ndarray:
    """Return the view's distinct cuts as ticks, ascending, whatever its keys."""
    column = spec.time if spec.cut is None else spec.cut
    where = f"view {spec.name}, column {column}"
    seen = [np.unique(to_ticks(table[column], unit, where)) for _, table in scan.batches([column])]
    return np.unique(np.concatenate(seen)) if seen else np.empty(0, np.int64)


def _ask(index: AsofIndex, codes: KeyCodes | None, size: int, narrow: Narrow, share: range) -> np.ndarray:
    found = np.empty(size, dtype=np.int64)
    for start in range(0, size, QUESTIONS_AT_ONCE):
        stop = min(start + QUESTIONS_AT_ONCE, size)
        asked = np.zeros(stop - start, np.int32) if codes is None else codes.codes[start:stop]
        if codes is not None and len(share) < len(codes):
            asked = np.where((asked >= share.start) & (asked < share.stop), asked, -1)
        found[start:stop] = index.match(asked, narrow.moments.slice(start, stop), narrow.ttl)
    return found


def _in_file_order(scan: Scan, rows: np.ndarray, positions: np.ndarray) -> Matches:
    """Sort the winners of several passes by row number and let the positions follow."""
    if len(rows) > 1 and (rows[1:] < rows[:-1]).any():
        order = stable_argsort(rows)
        place = np.empty(len(rows), dtype=np.int64)
        place[order] = np.arange(len(rows))
        rows, positions = rows[order], np.where(positions < 0, -1, place[positions])
    narrow_enough = np.int32 if len(rows) < 2**31 else np.int64
    return Matches(scan, rows, positions.astype(narrow_enough))


def _width(data_type: pa.DataType) -> int:
    if pa.types.is_primitive(data_type):
        return max(data_type.bit_width // 8, 1)
    return 512 if pa.types.is_nested(data_type) else 64
