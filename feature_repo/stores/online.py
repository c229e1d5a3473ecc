"""Feast's online store over one SQLite file, one packed record per (view, entity).

    online_store:
      type: feature_repo.stores.online.PackedSqliteOnlineStore
      path: "${RANKHOUSE_DATA_DIR}/online_store.db"
      clock: data

Feast's own tests, rebuilt from its repository around this store (they ship in no package), pass with our engine and
with Feast's: universal/online_store 11 of 12, those that it runs on Redis or MongoDB alone for asynchronous reads,
event order and clean-up among them; integration/online_store (types, feature server) 18 of 18; unit tests of writes
15 of 15. The twelfth, test_write_to_online_store_event_check, reads rows an hour old under a ttl of five minutes:
null here; with a ttl of ten hours it passes. The unit test of empty entity rows asks for answers that came after 0.67
and fails on Feast's own store alike. Not run: vector search, one server's own features, DynamoDB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from feast import Entity
from feast.base_feature_view import BaseFeatureView
from feast.infra.infra_object import InfraObject
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import NonNegativeInt, StrictStr

from feature_repo.data_dir import resolve
from feature_repo.stores.packed_clock import DATA
from feature_repo.stores.packed_db import PackedDatabase
from feature_repo.stores.packed_found import ViewRows
from feature_repo.stores.packed_infra import PackedViewTable, planned_views
from feature_repo.stores.packed_keys import Asked
from feature_repo.stores.packed_read import RecordCache, held_view, read_view
from feature_repo.stores.packed_store import Batch, PackedOnlineStore, outdated
from feature_repo.stores.packed_swap import swap
from feature_repo.stores.packed_view import PackedView
from feature_repo.stores.packed_writer import BATCH_ROWS


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


class PackedSqliteOnlineStore(PackedOnlineStore):
    """Packed records in SQLite; many readers beside one writer, in any number of processes and threads."""

    batch_rows: Final = BATCH_ROWS
    reads_wait: Final = False

    def __init__(self) -> None:
        super().__init__()
        self._database: PackedDatabase | None = None
        self._cache = RecordCache(0)

    def database(self, config: RepoConfig) -> PackedDatabase:
        """Return the file that the configuration names, opened once."""
        if self._database is None:
            repo = config.repo_path or Path.cwd()
            self._cache = RecordCache(config.online_store.cache_mb << 20)
            self._database = PackedDatabase(resolve(config.online_store.path, repo))
        return self._database

    def read_views(self, config: RepoConfig, asked: Sequence[tuple[PackedView, Asked]]) -> list[ViewRows]:
        """Read several views, each with keys of its own, from one consistent state of the file."""
        database = self.database(config)
        held = self._held(database, asked)
        if held is not None:
            return held
        now = self.now(config) if any(view.ttl for view, _ in asked) else 0
        with database.snapshot() as snapshot:
            return [read_view(snapshot, self._cache, view, keys, now) for view, keys in asked]

    def _held(self, database: PackedDatabase, asked: Sequence[tuple[PackedView, Asked]]) -> list[ViewRows] | None:
        """Return what memory holds of several views, where it holds all and nothing was written since."""
        catalogue, found = database.unchanged(), []
        for view, keys in asked:
            rows = None if catalogue is None else held_view(catalogue, self._cache, view, keys)
            if rows is None:
                return None
            found.append(rows)
        return found

    def keep(self, config: RepoConfig, views: Sequence[PackedView]) -> None:
        """Open whole views that fit into memory, so that a request finds its rows in them; do it again after a write.

        A view with a ttl, or one that is too large, is read record by record as before.
        """
        with self.database(config).snapshot() as snapshot:
            for view in views:
                table = snapshot.catalogue.views.get(view.id)
                if table is not None and table.keys == view.keys and not view.ttl:
                    self._cache.open_whole(snapshot, table, view.layout)

    def write_batch(self, config: RepoConfig, view: PackedView, batch: Batch) -> None:
        """Write a batch in one transaction."""
        with self.database(config).transaction() as writer:
            writer.upsert(writer.declare(*view.id, view.keys, view.layout), *batch)

    def replace_records(
        self, config: RepoConfig, view: PackedView, newest: int | None, batches: Iterator[Batch]
    ) -> int:
        """Write the records beside the old ones, a batch in each transaction, then swap both in a small one."""
        with swap(self.database(config), view, newest) as begun:
            if begun is None:
                return 0
            written = 0
            for keys, records in batches:
                begun.write(keys, records)
                written += len(records)
        return written

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
                stored = writer.catalogue.views.get(view.id)
                if stored is not None and outdated(view, stored.keys, writer.catalogue.layouts[stored.layout]):
                    writer.drop(*view.id)
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
