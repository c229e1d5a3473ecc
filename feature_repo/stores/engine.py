"""Feast's local compute engine, with materialisation that hands Arrow to the packed store.

    batch_engine:
      type: feature_repo.stores.engine.ArrowComputeEngine

A view tagged `swap: cut` holds the outputs of one fit: its newest cut in the range replaces the view as a whole.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal

import pyarrow as pa
from feast import BatchFeatureView, FeatureView, StreamFeatureView
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from feast.utils import _get_column_names

from feature_repo.first_stage import SWAP_CUT, SWAP_TAG
from feature_repo.stores.packed_store import PackedOnlineStore

_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
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
        table = self._latest(registry, task)
        if table.num_rows:
            swap = view.tags.get(SWAP_TAG) == SWAP_CUT
            write = self.online_store.replace_view if swap else self.online_store.write_table
            write(self.repo_config, view, table)
        job_id = f"{view.name}-{task.start_time}-{task.end_time}"
        return LocalMaterializationJob(job_id=job_id, status=MaterializationJobStatus.SUCCEEDED)

    def _latest(self, registry: BaseRegistry, task: MaterializationTask) -> pa.Table:
        """Return the latest row of each key in the task's range, columns named as in the view."""
        view, source = task.feature_view, task.feature_view.batch_source
        entities = [registry.get_entity(name, task.project) for name in view.entities]
        join_keys, features, time, created = _get_column_names(view, entities)
        everything = task.disable_event_timestamp
        table = self.offline_store.pull_latest_from_table_or_query(
            config=self.repo_config,
            data_source=source,
            join_key_columns=join_keys,
            feature_name_columns=features,
            timestamp_field=time,
            created_timestamp_column=created,
            start_date=_BEGINNING if everything else task.start_time,
            end_date=datetime.now(UTC) if everything else task.end_time,
        ).to_arrow()
        mapping = source.field_mapping or {}
        table = table.rename_columns([mapping.get(name, name) for name in table.column_names])
        if not join_keys and DUMMY_ENTITY_ID not in table.column_names:
            table = table.append_column(DUMMY_ENTITY_ID, pa.repeat(DUMMY_ENTITY_VAL, table.num_rows))
        return table


def _is_plain(view: BatchFeatureView | StreamFeatureView | FeatureView) -> bool:
    """Whether the online rows are the source's rows: nothing to compute, nothing to write offline as well."""
    computed = any(getattr(view, what, None) for what in _COMPUTED)
    return view.online and not view.offline and not computed and view.batch_source is not None
