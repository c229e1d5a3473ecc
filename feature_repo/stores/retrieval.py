"""A historical retrieval: an entity frame and the features of several views as of each row's time, as Arrow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_repo.stores.entity_frame import Entities
from feature_repo.stores.point_in_time import EntityTimes, Matches, column_groups, fetch, match
from feature_repo.stores.scans import open_scan
from feature_repo.stores.settings import Settings
from feature_repo.stores.view_spec import ViewSpec

SLICE_ROWS = 245_760  # two row groups: small enough that the memory of one slice serves the next
CHUNK_ROWS = 1 << 18
_LARGE_BYTES = 1 << 30  # above it, 32-bit offsets of texts and lists might overflow while they are gathered


@dataclass
class HistoricalRetrieval:
    """Everything that `get_historical_features` was asked; nothing is read before a table or slices are wanted."""

    load_entities: Callable[[], Entities]
    specs: tuple[ViewSpec, ...]
    settings: Settings

    @cached_property
    def entities(self) -> Entities:
        return self.load_entities()

    @cached_property
    def _times(self) -> EntityTimes:
        return EntityTimes(self.entities.table[self.entities.time])

    def table(self) -> pa.Table:
        """Return the entity frame's columns and the features, one row per entity row, in its order."""
        table = self.entities.table
        for spec in self.specs:
            stored, matches = self._match(spec)
            for group in column_groups(stored, matches.scan.schema, len(matches.rows)):
                compact = fetch(matches, group)
                for name in compact.column_names:
                    table = table.append_column(name, gather(compact[name], matches.positions, self.settings.threads))
        return table

    def slices(self, rows: int = SLICE_ROWS, *, numbered_lists: bool = False) -> Iterator[pa.Table]:
        """Yield the same table in slices; features wait in memory, or in the spill directory where they are many.

        `numbered_lists`: a column of lists comes as a dictionary array, each list once and a row number per row.
        """
        with tempfile.TemporaryDirectory(dir=_made(self.settings.spill_directory)) as spill:
            views = [self._compact(spec, Path(spill) / f"{place}.arrow") for place, spec in enumerate(self.specs)]
            for start in range(0, max(self.entities.table.num_rows, 1), rows):
                table = self.entities.table.slice(start, rows)
                for columns, positions in views:
                    for name, values in columns.items():
                        chosen = positions[start : start + rows]
                        if numbered_lists and pa.types.is_list(values.type) and values.nbytes <= _LARGE_BYTES:
                            column = _numbered(values, chosen)
                        else:
                            column = gather(values, chosen, self.settings.threads)
                        table = table.append_column(name, column)
                yield table

    def _match(self, spec: ViewSpec) -> tuple[ViewSpec, Matches]:
        """Match one view; return its spec in its source's column names and the rows that won."""
        scan = open_scan(spec.source, self.settings, spec.declared)
        spec = spec.in_source(scan.schema)
        entities, settings = self.entities.table, self.settings
        return spec, match(spec, scan, entities, self._times, strict=settings.strict, budget=settings.budget)

    def _compact(self, spec: ViewSpec, spill: Path) -> tuple[dict[str, pa.ChunkedArray], np.ndarray]:
        """Fetch a view's winning rows; beyond the budget they are written to a file and mapped."""
        spec, matches = self._match(spec)
        groups = list(column_groups(spec, matches.scan.schema, len(matches.rows)))
        columns: dict[str, pa.ChunkedArray] = {}
        held = 0
        for place, group in enumerate(groups):
            part = fetch(matches, group)
            held += part.nbytes
            if held > self.settings.budget:
                part = _map(part, spill.with_name(f"{spill.stem}-{place}.arrow"))
            columns.update((name, part[name]) for name in part.column_names)
        return columns, matches.positions


def _numbered(values: pa.ChunkedArray, positions: np.ndarray) -> pa.DictionaryArray:
    """Return `values` at `positions` (null at -1) as a dictionary array over all of them."""
    whole = values.chunk(0) if values.num_chunks == 1 else values.combine_chunks()
    return pa.DictionaryArray.from_arrays(pa.array(positions, mask=positions < 0), whole)


def gather(values: pa.ChunkedArray, positions: np.ndarray, threads: int = 1) -> pa.ChunkedArray:
    """Return `values` at `positions` (null at -1), in chunks so that texts and lists of any total size fit."""
    wanted = values.type
    if values.nbytes > _LARGE_BYTES:
        values = values.cast(_large(wanted))
    flat = values.combine_chunks()

    def part(start: int) -> pa.Array:
        chosen = positions[start : start + CHUNK_ROWS]
        indices = pa.array(chosen, mask=chosen < 0)
        taken = flat.take(indices)
        return taken if taken.type == wanted else taken.cast(wanted)

    starts = range(0, len(positions), CHUNK_ROWS)
    if threads <= 1:
        return pa.chunked_array([part(start) for start in starts], wanted)
    with ThreadPoolExecutor(threads) as pool:
        return pa.chunked_array(list(pool.map(part, starts)), wanted)


def _large(data_type: pa.DataType) -> pa.DataType:
    """Return the same type with 64-bit offsets."""
    if pa.types.is_string(data_type):
        return pa.large_string()
    if pa.types.is_binary(data_type):
        return pa.large_binary()
    if pa.types.is_list(data_type):
        return pa.large_list(_large(data_type.value_type))
    return data_type


def _map(table: pa.Table, path: Path) -> pa.Table:
    """Write a table to a file and return it mapped from there, so that the system may drop its pages."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory
