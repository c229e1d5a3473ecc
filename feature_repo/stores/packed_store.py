"""What every packed online store is to Feast: its contract over records of one view and one entity each.

A store keeps records; reading and writing Feast's protobufs or Arrow tables, requests of several views, ttl and
on-demand views are the same on all of them. Rows arrive as Feast's protobufs (`online_write_batch`: push, Feast's own
engine) or as Arrow (`write_table`, `replace_view`: our compute engine). An older row never replaces a newer one; a row
older than its view's ttl reads as null. After a change of schema the features whose name and type stayed are still
read, the others are null until they are written again.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
from feast.base_feature_view import BaseFeatureView
from feast.feature_service import FeatureService
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.registry.base_registry import BaseRegistry
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.online_response import OnlineResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import RepoConfig

from feature_repo.data_dir import data_dir
from feature_repo.errors import DataError
from feature_repo.stores.packed import Blobs, Layout
from feature_repo.stores.packed_answer import Answer
from feature_repo.stores.packed_clock import FILE_NAME, Clock
from feature_repo.stores.packed_found import ViewRows
from feature_repo.stores.packed_keys import Asked, Key, KeyCodec
from feature_repo.stores.packed_request import EntityValues, Plan, Planner, RequestColumns, request_columns
from feature_repo.stores.packed_response import PackedOnlineResponse
from feature_repo.stores.packed_values import from_protos, to_protos
from feature_repo.stores.packed_view import NEVER, PackedView

T = TypeVar("T")
ProtoRow = tuple[EntityKeyProto, dict[str, ValueProto], datetime, datetime | None]
ReadRow = tuple[datetime | None, dict[str, ValueProto] | None]
Batch = tuple[np.ndarray | Blobs, Blobs]
"""Encoded keys and their records."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_log = logging.getLogger(__name__)


class PackedOnlineStore(OnlineStore):
    """Feast's online store over packed records; where they lie is a subclass's affair."""

    batch_rows: int
    """How many rows are written at once, all or none."""
    reads_wait: bool
    """Whether a read waits for a server, so that it may not hold up an event loop."""

    def __init__(self) -> None:
        self._clock: Clock | None = None
        self._planner = Planner()

    @abstractmethod
    def read_views(self, config: RepoConfig, asked: Sequence[tuple[PackedView, Asked]]) -> list[ViewRows]:
        """Read several views, each with keys of its own, from one consistent state of the store."""

    @abstractmethod
    def write_batch(self, config: RepoConfig, view: PackedView, batch: Batch) -> None:
        """Write a batch, all or nothing; an older record never replaces a newer one, an equally old one does."""

    @abstractmethod
    def replace_records(
        self, config: RepoConfig, view: PackedView, newest: int | None, batches: Iterator[Batch]
    ) -> int:
        """Swap a view's records for others, all or nothing, unless what it holds is newer than `newest`.

        Returns how many records the view was given; without a `newest` there are none.
        """

    @abstractmethod
    def keep(self, config: RepoConfig, views: Sequence[PackedView]) -> None:
        """Hold whole views in memory as they are now, where the store can tell whether they still are."""

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        return SupportedAsyncMethods(read=True, write=True)

    def _is_versioned_read_supported(self) -> bool:
        return True

    def now(self, config: RepoConfig) -> int:
        """Return the time from which a ttl counts back, in microseconds since 1970."""
        if self._clock is None:
            self._clock = Clock(config.online_store.clock, data_dir(config.repo_path or Path.cwd()) / FILE_NAME)
        return self._clock.now()

    def write_table(self, config: RepoConfig, feature_view: BaseFeatureView, table: pa.Table) -> int:
        """Write Arrow rows named as in the view: join keys, features, times. Returns how many were written.

        Each batch of at most `batch_rows` rows is atomic; rows with a null key are left out.
        """
        view, written = PackedView.of(config, feature_view), 0
        for batch in view.packed(table, self.batch_rows):
            self.write_batch(config, view, batch)
            written += len(batch[1])
        return written

    def replace_view(self, config: RepoConfig, feature_view: BaseFeatureView, table: pa.Table) -> int:
        """Swap a view's whole content for the rows that are as new as the table's newest cut, all or nothing.

        Entities absent from the table are gone afterwards. A table older than what the view holds changes nothing,
        an empty one empties the view. Returns how many rows the view was given.
        """
        view = PackedView.of(config, feature_view)
        newest, cut = view.newest([table])
        return self.replace_parts(config, view, newest, [view.since(table, cut)])

    def replace_parts(self, config: RepoConfig, view: PackedView, newest: int | None, parts: Iterable[pa.Table]) -> int:
        """Do what `replace_view` does with rows in parts, `newest` their newest event time in microseconds."""
        batches = (batch for part in parts for batch in view.packed(part, self.batch_rows))
        return self.replace_records(config, view, newest, batches)

    def online_write_batch(
        self,
        config: RepoConfig,
        table: BaseFeatureView,
        data: list[ProtoRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write Feast's protobuf rows; atomic per `batch_rows`."""
        view = PackedView.of(config, table)
        for start in range(0, len(data), self.batch_rows):
            part = data[start : start + self.batch_rows]
            self.write_batch(config, view, _packed_protos(view, part, config.entity_key_serialization_version))
            if progress is not None:
                progress(len(part))

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: BaseFeatureView,
        data: list[ProtoRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write in a thread, so that waiting for another writer does not hold up the event loop."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    def online_read(
        self,
        config: RepoConfig,
        table: BaseFeatureView,
        entity_keys: list[EntityKeyProto],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        """Return (event time, values) per entity key: (None, None) without a row, (time, None) beyond the ttl."""
        view = PackedView.of(config, table)
        keys = view.keys.from_protos(entity_keys, config.entity_key_serialization_version)
        (found,) = self.read_views(config, [(view, Asked.of(keys))])
        wanted = [f for f in view.layout.fields if requested_features is None or f.name in requested_features]
        columns = [to_protos(found.array(field.name), field) for field in wanted]
        values = zip(*columns, strict=True) if columns else ((),) * len(keys)
        names = [field.name for field in wanted]
        times = found.spread(found.rows.event).tolist()
        old = [False] * len(keys) if found.expired is None else found.spread(found.expired).tolist()
        return [
            (
                None if time == NEVER else _EPOCH + time * _MICROSECOND,
                None if time == NEVER or expired else dict(zip(names, row, strict=True)),
            )
            for time, row, expired in zip(times, values, old, strict=True)
        ]

    async def online_read_async(
        self,
        config: RepoConfig,
        table: BaseFeatureView,
        entity_keys: list[EntityKeyProto],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        """Do what `online_read` does."""
        return await self._unblocking(partial(self.online_read, config, table, entity_keys, requested_features))

    def get_online_features(
        self,
        config: RepoConfig,
        features: list[str] | FeatureService,
        entity_rows: list[dict[str, Any]] | EntityValues,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """Answer from packed rows; what is rare or malformed goes Feast's own way over `online_read`."""
        plan = self._planner.plan(config, registry, features, full_feature_names)
        answer = None if _is_rare(plan) else self._answer(config, plan, entity_rows)
        if answer is not None:
            return PackedOnlineResponse(answer, include_feature_view_version_metadata)
        return super().get_online_features(
            config,
            features,
            entity_rows,
            registry,
            project,
            full_feature_names,
            include_feature_view_version_metadata,
        )

    async def get_online_features_async(
        self,
        config: RepoConfig,
        features: list[str] | FeatureService,
        entity_rows: list[dict[str, Any]] | EntityValues,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """Do what `get_online_features` does."""
        answer = partial(
            self.get_online_features,
            config,
            features,
            entity_rows,
            registry,
            project,
            full_feature_names,
            include_feature_view_version_metadata,
        )
        return await self._unblocking(answer)

    async def _unblocking(self, read: Callable[[], T]) -> T:
        """Read in a thread where reads wait for a server; elsewhere handing over would take longer than reading."""
        return await asyncio.to_thread(read) if self.reads_wait else read()

    def _answer(
        self, config: RepoConfig, plan: Plan, entity_rows: list[dict[str, Any]] | EntityValues
    ) -> Answer | None:
        """Answer a plan; None where Feast's own path has to find the words for what is wrong with the rows."""
        try:
            request = request_columns(plan, _by_column(entity_rows))
            return self.answer(config, plan, request) if request.rows else None
        except (pa.ArrowInvalid, pa.ArrowTypeError, DataError, LookupError):
            return None

    def answer(self, config: RepoConfig, plan: Plan, request: RequestColumns) -> Answer:
        """Read what a plan asks for; raises KeyError for a join key that is missing."""
        asked = zip(plan.reads, plan.asked(request), strict=True)
        return Answer(plan, request, self.read_views(config, [(read.view, keys) for read, keys in asked]))


def outdated(view: PackedView, keys: KeyCodec, before: Layout) -> bool:
    """Whether a stored view has to be emptied for its new join keys; say which features a new schema leaves null."""
    if keys != view.keys:
        _log.warning("%s: its join keys changed; it is empty until the next materialize", view.name)
        return True
    new = [f.name for f in view.layout.fields if before.by_name.get(f.name) != f]
    if new:
        _log.warning("%s: %s null until the next materialize", view.name, ", ".join(new))
    return False


def _is_rare(plan: Plan) -> bool:
    """Whether a request needs what only Feast's own path does: stored or aggregated on-demand views, its metrics."""
    written = any(read.is_on_demand for read in plan.reads) or any(v.aggregations for v in plan.on_demand)
    measured = "feast.metrics" in sys.modules and sys.modules["feast.metrics"]._config.online_features
    return written or measured


def _by_column(rows: list[dict[str, Any]] | EntityValues) -> EntityValues:
    """Turn rows into columns; raises LookupError where they are empty or differ in their keys."""
    if not isinstance(rows, list):
        return rows
    names = rows[0].keys()
    if any(row.keys() != names for row in rows):
        raise KeyError("rows with different keys")
    return {name: [row[name] for row in rows] for name in names}


def _packed_protos(view: PackedView, rows: list[ProtoRow], serialization: int) -> Batch:
    where = f"feature view {view.name}"
    keys = view.keys.from_protos([row[0] for row in rows], serialization)
    if None in keys:
        raise DataError(
            where,
            expected=f"entity keys of {', '.join(f'{name} ({kind})' for name, kind in view.keys.parts)}",
            got=str(rows[keys.index(None)][0]).replace("\n", " "),
            fix="Write rows that carry every join key of the view in its declared type.",
        )
    order = sorted(range(len(keys)), key=keys.__getitem__)
    values = [rows[i][1] for i in order]
    columns = {f.name: from_protos([v.get(f.name) for v in values], f, where) for f in view.layout.fields}
    event = np.array([_microseconds(rows[i][2]) for i in order], np.int64)
    created = np.array([NEVER if rows[i][3] is None else _microseconds(rows[i][3]) for i in order], np.int64)
    return _encoded([keys[i] for i in order]), view.layout.pack(columns, event, created)


def _encoded(keys: list[Key]) -> np.ndarray | Blobs:
    if keys and isinstance(keys[0], int):
        return np.array(keys, np.int64)
    return Blobs.of(pa.array(keys, pa.large_binary()))


def _microseconds(moment: datetime) -> int:
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - _EPOCH) // _MICROSECOND
