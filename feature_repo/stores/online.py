"""Feast's online store over one SQLite file, one packed record per (view, entity).

    online_store:
      type: feature_repo.stores.online.PackedSqliteOnlineStore
      path: "${RANKHOUSE_DATA_DIR}/online_store.db"
      clock: data

Rows arrive as Feast's protobufs (`online_write_batch`: push, Feast's own engine) or as Arrow (`write_table`,
`replace_view`: our compute engine). An older row never replaces a newer one; a row older than its view's ttl reads as
null. After a change of schema the features whose name and type stayed are still read, the others are null until they
are written again.

Feast's own tests, rebuilt from its repository around this store (they ship in no package), pass with our engine and
with Feast's: universal/online_store 11 of 12, those that it runs on Redis or MongoDB alone for asynchronous reads,
event order and clean-up among them; integration/online_store (types, feature server) 18 of 18; unit tests of writes
15 of 15. The twelfth, test_write_to_online_store_event_check, reads rows an hour old under a ttl of five minutes:
null here; with a ttl of ten hours it passes. The unit test of empty entity rows asks for answers that came after 0.67
and fails on Feast's own store alike. Not run: vector search, one server's own features, DynamoDB.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from feast import Entity
from feast.base_feature_view import BaseFeatureView
from feast.feature_service import FeatureService
from feast.infra.infra_object import InfraObject
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.registry.base_registry import BaseRegistry
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.online_response import OnlineResponse
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import NonNegativeInt, StrictStr

from feature_repo.data_dir import data_dir, resolve
from feature_repo.errors import DataError
from feature_repo.stores.packed import Blobs, stored_time
from feature_repo.stores.packed_answer import Answer
from feature_repo.stores.packed_clock import DATA, FILE_NAME, Clock
from feature_repo.stores.packed_db import BATCH_ROWS, PackedDatabase, Writer
from feature_repo.stores.packed_infra import PackedViewTable, planned_views
from feature_repo.stores.packed_keys import Asked, Key
from feature_repo.stores.packed_read import RecordCache, ViewRows, read_view
from feature_repo.stores.packed_request import EntityValues, Plan, Planner, RequestColumns, request_columns
from feature_repo.stores.packed_response import PackedOnlineResponse
from feature_repo.stores.packed_values import from_protos, to_protos
from feature_repo.stores.packed_view import NEVER, PackedView

ProtoRow = tuple[EntityKeyProto, dict[str, ValueProto], datetime, datetime | None]
ReadRow = tuple[datetime | None, dict[str, ValueProto] | None]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_log = logging.getLogger(__name__)


class PackedSqliteOnlineStoreConfig(FeastConfigBaseModel):
    """Settings of the packed store in feature_store.yaml."""

    type: Literal["feature_repo.stores.online.PackedSqliteOnlineStore"] = (
        "feature_repo.stores.online.PackedSqliteOnlineStore"
    )
    path: StrictStr = "${RANKHOUSE_DATA_DIR}/online_store.db"
    """The file; a relative path starts at the folder of feature_store.yaml."""
    clock: StrictStr = DATA
    """From when a ttl counts back: `data`, `wall` or an ISO time (see feature_repo.stores.packed_clock)."""
    cache_mb: NonNegativeInt = 256
    """How much of what was read a process keeps; 0 reads the file every time."""


class PackedSqliteOnlineStore(OnlineStore):
    """Packed records in SQLite; many readers beside one writer, in any number of processes and threads."""

    def __init__(self) -> None:
        self._database: PackedDatabase | None = None
        self._cache = RecordCache(0)
        self._clock: Clock | None = None
        self._planner = Planner()

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        return SupportedAsyncMethods(read=True, write=True)

    def _is_versioned_read_supported(self) -> bool:
        return True

    def database(self, config: RepoConfig) -> PackedDatabase:
        """Return the file that the configuration names, opened once."""
        if self._database is None:
            repo = config.repo_path or Path.cwd()
            self._cache = RecordCache(config.online_store.cache_mb << 20)
            self._clock = Clock(config.online_store.clock, data_dir(repo) / FILE_NAME)
            self._database = PackedDatabase(resolve(config.online_store.path, repo))
        return self._database

    def read_views(self, config: RepoConfig, asked: Sequence[tuple[PackedView, Asked]]) -> list[ViewRows]:
        """Read several views, each with keys of its own, from one consistent state of the file."""
        database = self.database(config)
        now = self._clock.now() if any(view.ttl for view, _ in asked) else 0
        with database.snapshot() as snapshot:
            return [read_view(snapshot, self._cache, view, keys, now) for view, keys in asked]

    def keep(self, config: RepoConfig, views: Sequence[PackedView]) -> None:
        """Open whole views that fit into memory, so that a request finds its rows in them; do it again after a write.

        A view with a ttl, or one that is too large, is read record by record as before.
        """
        with self.database(config).snapshot() as snapshot:
            for view in views:
                table = snapshot.catalogue.views.get(view.id)
                if table is not None and table.keys == view.keys and not view.ttl:
                    self._cache.open_whole(snapshot, table, view.layout)

    def write_table(self, config: RepoConfig, feature_view: BaseFeatureView, table: pa.Table) -> int:
        """Write Arrow rows named as in the view: join keys, features, times. Returns how many were written.

        Each batch of at most 65,536 rows is atomic; rows with a null key are left out.
        """
        view, written = PackedView.of(config, feature_view), 0
        for keys, records in view.packed(table):
            with self.database(config).transaction() as writer:
                writer.upsert(writer.declare(*view.id, view.keys, view.layout), keys, records)
            written += len(records)
        return written

    def replace_view(self, config: RepoConfig, feature_view: BaseFeatureView, table: pa.Table) -> int:
        """Swap a view's whole content for the rows of the table's newest event time, in one transaction.

        Entities absent from the table are gone afterwards. A table older than what the view holds changes nothing,
        an empty one empties the view. Returns how many rows the view was given.
        """
        view = PackedView.of(config, feature_view)
        newest, rows = view.newest(table)
        with self.database(config).transaction() as writer:
            stored = writer.declare(*view.id, view.keys, view.layout)
            if newest is not None and stored_time(newest) < writer.newest(stored):
                return 0
            writer.clear(stored)
            written = 0
            for keys, records in view.packed(rows):
                writer.upsert(stored, keys, records)
                written += len(records)
        return written

    def online_write_batch(
        self,
        config: RepoConfig,
        table: BaseFeatureView,
        data: list[ProtoRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write Feast's protobuf rows; atomic per 65,536 rows."""
        view = PackedView.of(config, table)
        for start in range(0, len(data), BATCH_ROWS):
            part = data[start : start + BATCH_ROWS]
            keys, records = _packed_protos(view, part, config.entity_key_serialization_version)
            with self.database(config).transaction() as writer:
                writer.upsert(writer.declare(*view.id, view.keys, view.layout), keys, records)
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
        """Read without a thread: it takes less time than handing over to one."""
        return self.online_read(config, table, entity_keys, requested_features)

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
        """Answer without a thread: it takes less time than handing over to one."""
        return self.get_online_features(
            config,
            features,
            entity_rows,
            registry,
            project,
            full_feature_names,
            include_feature_view_version_metadata,
        )

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

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[BaseFeatureView],
        tables_to_keep: Sequence[BaseFeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Make the tables of new views, drop those of deleted ones, say which features a new schema leaves null."""
        with self.database(config).transaction() as writer:
            for table in tables_to_delete:
                writer.drop(*PackedView.of(config, table).id)
            for table in tables_to_keep:
                view = PackedView.of(config, table)
                _adopt_schema(writer, view)
                writer.declare(*view.id, view.keys, view.layout)

    def plan(self, config: RepoConfig, desired_registry_proto: RegistryProto) -> list[InfraObject]:
        """Return the tables that the desired registry needs."""
        path = self.database(config).path
        return [PackedViewTable(str(path), config.project, name) for name in planned_views(desired_registry_proto)]

    def teardown(self, config: RepoConfig, tables: Sequence[BaseFeatureView], entities: Sequence[Entity]) -> None:
        """Drop the tables of these views; the file goes with the last of them."""
        database = self.database(config)
        with database.transaction() as writer:
            for table in tables:
                writer.drop(*PackedView.of(config, table).id)
            empty = not writer.catalogue.views
        if empty:
            database.remove()

    async def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()


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


def _packed_protos(view: PackedView, rows: list[ProtoRow], serialization: int) -> tuple[np.ndarray | Blobs, Blobs]:
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


def _adopt_schema(writer: Writer, view: PackedView) -> None:
    """Say which features a new schema leaves null; drop a view whose join keys changed."""
    stored = writer.catalogue.views.get(view.id)
    if stored is None:
        return
    if stored.keys != view.keys:
        _log.warning("%s: its join keys changed; it is empty until the next materialize", view.name)
        writer.drop(*view.id)
        return
    before = writer.catalogue.layouts[stored.layout].by_name
    new = [f.name for f in view.layout.fields if before.get(f.name) != f]
    if new:
        _log.warning("%s: %s null until the next materialize", view.name, ", ".join(new))
