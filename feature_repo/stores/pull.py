"""Plain reads of one source: every row of a time range, or the latest row of each key within it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
from feast.errors import FeastJoinKeysDuringMaterialization
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.offline_stores.file_source import FileSource

from feature_repo.errors import ContractError, did_you_mean
from feature_repo.stores.asof import stable_argsort, time_order
from feature_repo.stores.keys import KeyCodes
from feature_repo.stores.scans import open_scan
from feature_repo.stores.settings import Settings
from feature_repo.stores.sources import Scan
from feature_repo.stores.times import NEVER, Unit, as_timestamps, finest_unit, tick, to_ticks


@dataclass(frozen=True)
class Pull:
    """One read: columns named as in the source; no `features` means all columns. Both dates are inclusive."""

    source: FileSource
    settings: Settings
    keys: tuple[str, ...]
    features: tuple[str, ...]
    time: str
    created: str | None
    start: datetime | None
    end: datetime | None

    def all_rows(self) -> Iterator[pa.Table]:
        """Yield the rows of the time range in file order, times in UTC and microseconds."""
        scan, columns = self._open()
        unit = finest_unit(scan.schema.field(self.time).type)
        low, high = self._bounds(unit)
        yield self._finish(scan.schema.empty_table().select(columns))
        for _, table in self._pruned(scan).batches(columns):
            ticks = to_ticks(table[self.time], unit, self._where)
            inside = (ticks >= low) & (ticks <= high)
            yield self._finish(table if inside.all() else table.filter(pa.array(inside)))

    def latest(self) -> pa.Table:
        """Return per key the row with the latest (event, created, place in the file), in file order."""
        scan, columns = self._open()
        clocks = [name for name in (self.time, self.created) if name]
        unit = finest_unit(*(scan.schema.field(name).type for name in clocks))
        low, high = self._bounds(unit)
        scan = self._pruned(scan)
        narrow = list(dict.fromkeys([*self.keys, *clocks]))
        parts = [table for _, table in scan.batches(narrow)]
        table = pa.concat_tables(parts) if parts else scan.schema.empty_table().select(narrow)
        rows = self._latest_rows(table, unit, low, high)
        found = [part for _, part in scan.batches(columns, rows)]
        return self._finish(pa.concat_tables(found) if found else scan.schema.empty_table().select(columns))

    def _latest_rows(self, table: pa.Table, unit: Unit, low: int, high: int) -> np.ndarray:
        event = to_ticks(table[self.time], unit, self._where)
        inside = np.flatnonzero((event >= low) & (event <= high))
        codes = np.zeros(len(event), np.int64)
        if self.keys:
            columns = [table[key] for key in self.keys]
            codes = KeyCodes(columns, [column.type for column in columns], self._where).codes
            inside = inside[codes[inside] >= 0]
        created = to_ticks(table[self.created], unit, self._where)[inside] if self.created else None
        order = time_order(event[inside], created)
        ordered = inside if order is None else inside[order]
        ordered = ordered[stable_argsort(codes[ordered])]
        last = np.ones(len(ordered), dtype=bool)
        last[:-1] = codes[ordered[1:]] != codes[ordered[:-1]]
        return np.sort(ordered[last])

    def _open(self) -> tuple[Scan, list[str]]:
        scan = open_scan(self.source, self.settings)
        names = scan.schema.names
        if not set(self.keys) <= set(names):
            raise FeastJoinKeysDuringMaterialization(self.source.path, set(self.keys), set(names))
        clocks = [name for name in (self.time, self.created) if name]
        columns = list(dict.fromkeys([*self.keys, *self.features, *clocks])) if self.features else names
        for column in columns:
            if column not in names:
                raise ContractError(
                    self._where,
                    expected=f"a column {column!r}",
                    got=f"columns {', '.join(names)}",
                    fix=f"Recompute the view or correct its definition.{did_you_mean(column, names)}",
                )
        return scan, list(columns)

    def _bounds(self, unit: Unit) -> tuple[int, int]:
        low = NEVER + 1 if self.start is None else tick(self.start, unit)
        return low, np.iinfo(np.int64).max if self.end is None else tick(self.end, unit)

    def _pruned(self, scan: Scan) -> Scan:
        """Leave out what lies outside the dates, in the event time's own unit: the created time may be finer."""
        return scan.prune({self.time: self._bounds(finest_unit(scan.schema.field(self.time).type))})

    def _finish(self, table: pa.Table) -> pa.Table:
        for name in (self.time, self.created):
            if name:
                place = table.column_names.index(name)
                chunks = [
                    as_timestamps(chunk, self._where).cast(pa.timestamp("us", "UTC"), safe=False)
                    for chunk in table[name].chunks
                ]
                table = table.set_column(place, name, pa.chunked_array(chunks, pa.timestamp("us", "UTC")))
        if not self.keys and DUMMY_ENTITY_ID not in table.column_names:
            # Feast materialises a view without entities under one dummy key, which it expects from the store.
            table = table.append_column(DUMMY_ENTITY_ID, pa.repeat(DUMMY_ENTITY_VAL, table.num_rows))
        return table

    @property
    def _where(self) -> str:
        return f"source {self.source.path}"
