"""The bulk path on any Feast store: one `online_read` per view, its values as typed Arrow columns.

That is the call under Feast's own `get_online_features`; what comes after it (ttl, on-demand views, types, order) is
the same here as on the packed store, so the values are too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.online_stores.online_store import OnlineStore
from feast.repo_config import RepoConfig

from feature_repo.on_demand.shared import Values
from feature_repo.stores.packed import Layout, numbers_of
from feature_repo.stores.packed_answer import Answer
from feature_repo.stores.packed_found import ViewRows, expire
from feature_repo.stores.packed_request import Plan, RequestColumns, ViewRead
from feature_repo.stores.packed_values import entity_keys, from_protos
from feature_repo.stores.packed_view import NEVER

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass
class ArrowRows:
    """Rows of one view that are Arrow columns already; the same questions as `packed.Rows` answers."""

    layout: Layout
    columns: Mapping[str, pa.Array]
    event: np.ndarray
    _blanked: np.ndarray | None = None
    _values: dict[str, Values] = field(default_factory=dict)

    def blank(self, where: np.ndarray) -> None:
        """Make every feature null in the rows that the mask names."""
        self._blanked = where

    def arrays_like(self, name: str, index: np.ndarray | None = None) -> dict[str, pa.Array]:
        """Return one feature as an Arrow array of its type, of all rows or of those that `index` names."""
        column = self.array(name)
        return {name: column if index is None else column.take(pa.array(index))}

    def array(self, name: str) -> pa.Array:
        """Return one feature as an Arrow array of its type."""
        column = self.columns[name]
        if self._blanked is None:
            return column
        return pc.if_else(pa.array(~self._blanked), column, pa.nulls(1, column.type)[0])

    def values(self, name: str) -> Values:
        """Return one feature, and with it whatever else is derived from it."""
        if name not in self._values:
            self._values[name] = Values(self.array(name))
        return self._values[name]

    def nulls(self, name: str) -> np.ndarray | None:
        """Return the mask of null rows, or None where there is none."""
        column = self.array(name)
        return column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None

    def numbers(self, name: str) -> np.ndarray:
        """Return a number feature's values; times as int64, booleans as uint8, nulls arbitrary."""
        return numbers_of(self.columns[name])


def feast_answer(online: OnlineStore, config: RepoConfig, plan: Plan, request: RequestColumns, now: int) -> Answer:
    """Answer a plan through a store's `online_read`."""
    return Answer(plan, request, [_read(online, config, read, request, now) for read in plan.reads])


def _read(online: OnlineStore, config: RepoConfig, read: ViewRead, request: RequestColumns, now: int) -> ViewRows:
    arrays = read.key_arrays(request.keys, request.rows)
    asked = read.view.keys.asked(arrays)
    first = pa.array(asked.first)
    protos = entity_keys(read.feature_view, [array.take(first) for array in arrays])
    known = [i for i, key in enumerate(asked.keys) if key is not None]
    rows: list[tuple] = [(None, None)] * len(asked.keys)
    if known:
        features = list(read.features)
        found = online.online_read(config, read.feature_view, [protos[i] for i in known], features)
        for i, row in zip(known, found, strict=True):
            rows[i] = row
    return view_rows(read, rows, asked.index, now)


def view_rows(read: ViewRead, rows: list[tuple], index: np.ndarray | None, now: int) -> ViewRows:
    """Turn what `online_read` returned into the rows of one view."""
    fields, where = read.view.layout.by_name, f"feature view {read.view.name}"
    columns = {
        name: from_protos([None if v is None else v.get(name) for _, v in rows], fields[name], where)
        for name in read.features
    }
    found = np.array([values is not None for _, values in rows], bool)
    event = np.array([NEVER if time is None else (_aware(time) - _EPOCH) // _MICROSECOND for time, _ in rows], np.int64)
    opened = ArrowRows(read.view.layout, columns, np.where(found, event, NEVER))
    return ViewRows(opened, index, expire(opened, read.view.ttl, now))


def _aware(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time
