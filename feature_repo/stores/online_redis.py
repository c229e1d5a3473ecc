"""Feast's online store in Redis, one packed record per (view, entity): the SQLite store's records, on a server.

    online_store:
      type: feature_repo.stores.online_redis.PackedRedisOnlineStore
      url: redis://localhost:6379/0
      clock: data

Feast's own Redis store keeps a serialised protobuf per value, and reading 500 candidates takes it a hundred
milliseconds; here a request is one pipeline of a command per view, and records are decoded as those of the SQLite
store are. It needs the package `redis` (`rankhouse[redis]`) and one address: a server, or a proxy in front of several.
Nothing is held in the reading process. Redis' own expiry is not used: a ttl counts from the declared clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from feast import Entity
from feast.base_feature_view import BaseFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import StrictStr

from feature_repo.stores.packed_clock import DATA
from feature_repo.stores.packed_found import ViewRows, of_one_schema, rows_of
from feature_repo.stores.packed_keys import Asked
from feature_repo.stores.packed_redis import BATCH_ROWS, RedisRecords
from feature_repo.stores.packed_store import Batch, PackedOnlineStore, outdated
from feature_repo.stores.packed_view import PackedView


class PackedRedisOnlineStoreConfig(FeastConfigBaseModel):
    """Settings of the packed store in Redis in feature_store.yaml."""

    type: Literal["feature_repo.stores.online_redis.PackedRedisOnlineStore"] = (
        "feature_repo.stores.online_redis.PackedRedisOnlineStore"
    )
    url: StrictStr = "redis://localhost:6379/0"
    """Where the server is, as Redis' client takes it: redis://, rediss:// for TLS, unix://; user and password too."""
    clock: StrictStr = DATA
    """From when a ttl counts back: `data`, `wall` or an ISO time (see feature_repo.stores.packed_clock)."""


class PackedRedisOnlineStore(PackedOnlineStore):
    """Packed records in Redis; any number of processes and machines read and write."""

    batch_rows: Final = BATCH_ROWS
    reads_wait: Final = True

    def __init__(self) -> None:
        super().__init__()
        self._records: RedisRecords | None = None

    def records(self, config: RepoConfig) -> RedisRecords:
        """Return the server that the configuration names."""
        if self._records is None:
            self._records = RedisRecords(config.online_store.url)
        return self._records

    def read_views(self, config: RepoConfig, asked: Sequence[tuple[PackedView, Asked]]) -> list[ViewRows]:
        """Read several views in one pipeline, as they were at one moment."""
        server = self.records(config)
        now = self.now(config) if any(view.ttl for view, _ in asked) else 0
        found = server.read([(view, keys.keys) for view, keys in asked])
        rows = []
        for (view, keys), records in zip(asked, found, strict=True):
            whole = [view.layout.blank if record is None else record for record in records]
            own = of_one_schema(whole, view.layout, lambda number, view=view: server.layout(view, number))
            rows.append(rows_of(view, keys, own, now))
        return rows

    def keep(self, config: RepoConfig, views: Sequence[PackedView]) -> None:
        """Do nothing: other machines write too, and asking whether they did takes as long as reading."""

    def write_batch(self, config: RepoConfig, view: PackedView, batch: Batch) -> None:
        """Write a batch by one script."""
        self.records(config).upsert(view, *batch)

    def replace_records(
        self, config: RepoConfig, view: PackedView, newest: int | None, batches: Iterator[Batch]
    ) -> int:
        """Write the records beside the old ones, then swap both by one script."""
        return self.records(config).replace(view, newest, batches)

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[BaseFeatureView],
        tables_to_keep: Sequence[BaseFeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Forget deleted views, say which features a new schema leaves null. `plan` has nothing to make beforehand."""
        server = self.records(config)
        for table in tables_to_delete:
            server.drop(PackedView.of(config, table))
        for table in tables_to_keep:
            view = PackedView.of(config, table)
            stored = server.stored(view)
            if stored is not None and outdated(view, *stored):
                server.drop(view)
            server.declare(view)

    def teardown(self, config: RepoConfig, tables: Sequence[BaseFeatureView], entities: Sequence[Entity]) -> None:
        """Forget these views; whatever else the server holds stays."""
        for table in tables:
            self.records(config).drop(PackedView.of(config, table))

    async def close(self) -> None:
        """Close the connections to the server."""
        if self._records is not None:
            self._records.client.close()
