"""What the packed store has to know of a feature view, read off Feast's definition once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.base_feature_view import BaseFeatureView
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.repo_config import RepoConfig
from feast.types import FeastType

from feature_repo import columns as names
from feature_repo.errors import ContractError, DataError, did_you_mean
from feature_repo.first_stage import SWAP_BY
from feature_repo.stores.key_order import strictly_ascending
from feature_repo.stores.packed import TIMESTAMP, Blobs, Layout, conform
from feature_repo.stores.packed_keys import KeyCodec
from feature_repo.stores.packed_values import fields_of, key_codec, opaque_column

NEVER: Final = np.iinfo(np.int64).min
_BATCH_BYTES: Final = 64 << 20


@dataclass(frozen=True)
class PackedView:
    """A view as the store keeps it: name (with its version where Feast keeps several), keys, layout, ttl, columns."""

    project: str
    name: str
    keys: KeyCodec
    layout: Layout
    ttl: int
    """Microseconds; 0 is unlimited."""
    time: str
    created: str | None
    opaque: dict[str, FeastType]
    cut: str | None
    """The column that tells the fits of a swapped view apart, where it is not the event time."""

    @property
    def id(self) -> tuple[str, str]:
        return self.project, self.name

    @classmethod
    def of(cls, config: RepoConfig, view: BaseFeatureView) -> PackedView:
        """Read a feature view's definition."""
        fields = fields_of(view)
        source, ttl = getattr(view, "batch_source", None), getattr(view, "ttl", None)
        rare = {field.name for field in fields if field.opaque}
        return cls(
            project=config.project,
            name=compute_versioned_name(view, config.registry.enable_online_feature_view_versioning),
            keys=key_codec(view),
            layout=Layout(fields),
            ttl=0 if ttl is None else (ttl.days * 86_400 + ttl.seconds) * 1_000_000 + ttl.microseconds,
            time=source.timestamp_field if source is not None and source.timestamp_field else names.TIME,
            created=(source.created_timestamp_column or None) if source is not None else names.CREATED,
            opaque={f.name: f.dtype for f in [*view.features, *getattr(view, "schema", [])] if f.name in rare},
            cut=getattr(view, "tags", {}).get(SWAP_BY),
        )

    def packed(self, table: pa.Table, batch_rows: int) -> Iterator[tuple[np.ndarray | Blobs, Blobs]]:
        """Yield keys and records in key order, a batch of at most so many rows at a time.

        `table` holds join keys, features and times under the names of the view. Rows with a null key are left out:
        no request can ask for them. Raises ContractError for a missing column, DataError for values that do not fit.
        """
        where = f"feature view {self.name}"
        arrays = self.keys.arrays({name: _column(table, name, where) for name in self.keys.names}, where)
        order = self._order(arrays)
        rows = max(1, min(batch_rows, _BATCH_BYTES * table.num_rows // max(table.nbytes, 1)))
        for start in range(0, len(order), rows):
            chosen = order.slice(start, rows)
            if _follow(chosen):
                first = chosen[0].as_py()
                own, part = [array.slice(first, len(chosen)) for array in arrays], table.slice(first, len(chosen))
            else:
                own, part = [array.take(chosen) for array in arrays], table.take(chosen)
            yield self.keys.encode(own), self._records(part, where)

    def _order(self, arrays: Sequence[pa.Array]) -> pa.Array:
        """Return the numbers of the rows that have a key, in the order of their keys."""
        if any(array.null_count for array in arrays):
            known = np.logical_and.reduce([array.is_valid().to_numpy(zero_copy_only=False) for array in arrays])
        elif strictly_ascending(arrays):
            return pa.array(np.arange(len(arrays[0]), dtype=np.uint64))
        else:
            known = None
        keys = pa.table(list(arrays), names=list(self.keys.names))
        order = pc.sort_indices(keys, [(name, "ascending") for name in self.keys.names])
        return order if known is None else order.filter(pa.array(known[order.to_numpy()]))

    def newest(self, tables: Iterable[pa.Table]) -> tuple[int | None, int | None]:
        """Return the newest event time and the newest cut (microseconds) of rows that have a key; None without any.

        The tables need no other features than `cut`.
        """
        where, newest = f"feature view {self.name}", np.full(2, NEVER)
        for table in tables:
            known = table.filter(_valid(table, self.keys.names))
            if known.num_rows:
                event = pc.max(_times(known, self.time, where)).as_py()
                cut = event if self.cut is None else pc.max(_times(known, self.cut, where)).as_py()
                newest = np.maximum(newest, [NEVER if moment is None else moment for moment in (event, cut)])
        event, cut = (None if moment == NEVER else moment for moment in newest.tolist())
        return event, cut

    def since(self, table: pa.Table, cut: int | None) -> pa.Table:
        """Return the rows that are as new as a cut."""
        times = _times(table, self.time, f"feature view {self.name}")
        return table.slice(0, 0) if cut is None else table.filter(pc.greater_equal(times, cut))

    def _records(self, part: pa.Table, where: str) -> Blobs:
        columns = {
            field.name: opaque_column(_column(part, field.name, where), self.opaque[field.name])
            if field.opaque
            else conform(_column(part, field.name, where), field.type, f"{where}, feature {field.name}")
            for field in self.layout.fields
        }
        event = _times(part, self.time, where)
        if event.null_count:
            raise DataError(
                where,
                expected=f"a time in every row of {self.time}",
                got=f"{event.null_count} nulls",
                fix="Correct the source.",
            )
        created = None
        if self.created is not None and self.created in part.column_names:
            created = _times(part, self.created, where).fill_null(NEVER).to_numpy(zero_copy_only=False)
        return self.layout.pack(columns, event.to_numpy(zero_copy_only=False), created)


def _valid(table: pa.Table, names: Sequence[str]) -> pa.Array:
    valid = np.ones(table.num_rows, bool)
    for name in names:
        valid &= table[name].is_valid().to_numpy()
    return pa.array(valid)


def _follow(order: pa.Array) -> bool:
    """Whether row numbers follow one another, as in a source that was written in key order."""
    return bool((np.diff(order.to_numpy().astype(np.int64)) == 1).all())


def _column(table: pa.Table, name: str, where: str) -> pa.Array:
    if name not in table.column_names:
        raise ContractError(
            where,
            expected=f"a column {name!r}",
            got=f"columns {', '.join(table.column_names)}",
            fix=f"Write the column, or correct the view's schema.{did_you_mean(name, table.column_names)}",
        )
    column = table[name]
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _times(table: pa.Table, name: str, where: str) -> pa.Array:
    column = _column(table, name, where)
    if pa.types.is_timestamp(column.type) and column.type.tz is None:
        column = column.cast(pa.timestamp(column.type.unit, "UTC"))
    return conform(column, TIMESTAMP, f"{where}, column {name}").view(pa.int64())
