"""Feast's local compute engine, with materialisation that hands Arrow to the packed store.

    batch_engine:
      type: feature_repo.stores.engine.ArrowComputeEngine

A view tagged `swap: cut` holds the outputs of one fit: its newest cut in the range replaces the view as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final, Literal

import pyarrow as pa
from feast import BatchFeatureView, FeatureView, StreamFeatureView
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.utils import _get_column_names

from feature_repo.first_stage import SWAP_CUT, SWAP_TAG
from feature_repo.stores.offline import AsofOfflineStore
from feature_repo.stores.packed_store import PackedOnlineStore
from feature_repo.stores.packed_view import PackedView
from feature_repo.stores.retrieval_job import TableJob

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COMPUTED: Final = ("feature_transformation", "aggregations", "source_views", "filter")


class ArrowComputeEngineConfig(FeastConfigBaseModel):
    """Settings of the engine in feature_store.yaml."""

    type: Literal["feature_repo.stores.engine.ArrowComputeEngine"] = "feature_repo.stores.engine.ArrowComputeEngine"


class ArrowComputeEngine(LocalComputeEngine):
    """Materialises plain views as Arrow; views with transformations, and other stores, go Feast's own way."""

    def _materialize_one(
        self, registry: BaseRegistry, task: MaterializationTask, **kwargs: object
    ) -> LocalMaterializationJob:
        view = task.feature_view
        if not isinstance(self.online_store, PackedOnlineStore) or not _is_plain(view):
            return super()._materialize_one(registry, task, **kwargs)
        source = _TaskRows(self.offline_store, self.repo_config, registry, task)
        if view.tags.get(SWAP_TAG) == SWAP_CUT:
            self._swap(view, source)
        else:
            for part in source.latest():
                self.online_store.write_table(self.repo_config, view, part)
        job_id = f"{view.name}-{task.start_time}-{task.end_time}"
        return LocalMaterializationJob(job_id=job_id, status=MaterializationJobStatus.SUCCEEDED)

    def _swap(self, view: FeatureView, source: _TaskRows) -> None:
        """Replace a view by its rows since the newest cut, which is looked for first: older ones are not read."""
        if not isinstance(self.offline_store, AsofOfflineStore):
            table = pa.concat_tables(source.latest())
            if table.num_rows:
                self.online_store.replace_view(self.repo_config, view, table)
            return
        packed = PackedView.of(self.repo_config, view)
        newest, cut = packed.newest(source.all_rows([packed.cut or packed.time]))
        if cut is not None:
            parts = (packed.since(part, cut) for part in source.latest(since=_EPOCH + timedelta(microseconds=cut)))
            self.online_store.replace_parts(self.repo_config, packed, newest, parts)


@dataclass(frozen=True)
class _TaskRows:
    """The rows of a task's range, columns named as in the view, a part at a time where the offline store can do so."""

    store: OfflineStore
    config: RepoConfig
    registry: BaseRegistry
    task: MaterializationTask

    def latest(self, since: datetime | None = None) -> Iterator[pa.Table]:
        """Yield the latest row of each key, from a later time on where one is given."""
        features, start = self._columns[1], self._start if since is None else max(since, self._start)
        return self._parts(self.store.pull_latest_from_table_or_query, features, start)

    def all_rows(self, features: list[str]) -> Iterator[pa.Table]:
        """Yield all rows with these columns of the view alone."""
        stored = {name: own for own, name in self._mapping.items()}
        own = [stored.get(name, name) for name in features]
        return self._parts(self.store.pull_all_from_table_or_query, own, self._start)

    def _parts(self, pull: Callable[..., RetrievalJob], features: list[str], start: datetime) -> Iterator[pa.Table]:
        keys, _, time, created = self._columns
        job = pull(
            config=self.config,
            data_source=self.task.feature_view.batch_source,
            join_key_columns=keys,
            feature_name_columns=features,
            timestamp_field=time,
            created_timestamp_column=created,
            start_date=start,
            end_date=datetime.now(UTC) if self.task.disable_event_timestamp else self.task.end_time,
        )
        parts = job.slices() if isinstance(job, TableJob) else iter([job.to_arrow()])
        return map(self._named, parts)

    def _named(self, table: pa.Table) -> pa.Table:
        table = table.rename_columns([self._mapping.get(name, name) for name in table.column_names])
        if not self._columns[0] and DUMMY_ENTITY_ID not in table.column_names:
            table = table.append_column(DUMMY_ENTITY_ID, pa.repeat(DUMMY_ENTITY_VAL, table.num_rows))
        return table

    @property
    def _start(self) -> datetime:
        start = _EPOCH if self.task.disable_event_timestamp else self.task.start_time
        return start if start.tzinfo else start.replace(tzinfo=UTC)

    @property
    def _mapping(self) -> dict[str, str]:
        return self.task.feature_view.batch_source.field_mapping or {}

    @cached_property
    def _columns(self) -> tuple[list[str], list[str], str, str | None]:
        """Return the source's names of join keys, features, event time and created time."""
        view = self.task.feature_view
        entities = [self.registry.get_entity(name, self.task.project) for name in view.entities]
        return _get_column_names(view, entities)


def _is_plain(view: BatchFeatureView | StreamFeatureView | FeatureView) -> bool:
    """Whether the online rows are the source's rows: nothing to compute, nothing to write offline as well."""
    computed = any(getattr(view, what, None) for what in _COMPUTED)
    return view.online and not view.offline and not computed and view.batch_source is not None
