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
from feature_repo.stores.latest import LatestRows
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
        """Return per key the row with the latest (event, created, place in the file)."""
        return pa.concat_tables(self.latest_parts())

    def latest_parts(self) -> Iterator[pa.Table]:
        """Yield the same rows in parts, an empty one first; what is held at a time does not grow with their number."""
        scan, columns = self._open()
        yield self._finish(scan.schema.empty_table().select(columns))
        clocks = [name for name in (self.time, self.created) if name]
        low, high = self._bounds(finest_unit(*(scan.schema.field(name).type for name in clocks)))
        found = LatestRows(
            self._pruned(scan),
            self.keys,
            self.time,
            self.created,
            low,
            high,
            self._where,
            self.settings.spill_directory,
        )
        yield from map(self._finish, found.parts(columns))

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
