"""Features of one request as columns: no protobuf per value, on-demand views included, the same on every store.

    reader = BulkReader(store)
    table = reader.features("ranker_v1", {"user_id": users, "item_id": items}, {"now": now})
    matrix = reader.matrix("ranker_v1", {"user_id": users, "item_id": items}, model_columns)

The packed store is read directly, Feast's Redis store through one pipeline, any other store through Feast's own
`online_read`. Columns have the types that the offline store gives them: integers stay integers beside nulls, float32
stays float32, a missing value is an Arrow null. The ttl holds everywhere, from the declared clock. Feast's own stores
keep times in whole seconds only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from feast import FeatureService

from feature_repo.data_dir import data_dir
from feature_repo.errors import ContractError, did_you_mean
from feature_repo.stores.bulk_feast import feast_answer
from feature_repo.stores.bulk_redis import is_redis, redis_answer
from feature_repo.stores.packed_answer import Answer, number_column
from feature_repo.stores.packed_clock import DATA, FILE_NAME, Clock
from feature_repo.stores.packed_request import Plan, Planner, RequestColumns, request_columns
from feature_repo.stores.packed_store import PackedOnlineStore

if TYPE_CHECKING:
    from feast import FeatureStore

Columns = pa.Table | Mapping[str, Any]


class BulkReader:
    """Reads features of one FeatureStore in bulk; safe to share between threads, and with a fork where it `forks`."""

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self._online = store._get_provider().online_store
        self._planner = Planner()
        self._services: dict[str, tuple[datetime | None, FeatureService]] = {}
        repo = store.config.repo_path or Path.cwd()
        self._clock = Clock(getattr(store.config.online_store, "clock", DATA), data_dir(repo) / FILE_NAME)

    @property
    def forks(self) -> bool:
        """Whether a forked process may read on: our stores open connections of its own then, others may not."""
        return isinstance(self._online, PackedOnlineStore)

    def features(
        self,
        features: str | FeatureService | list[str],
        entities: Columns,
        request_data: Mapping[str, Any] | None = None,
        *,
        full_feature_names: bool = False,
    ) -> pa.Table:
        """Return `entities` with the features of a service (or of a list of references) as further columns.

        `entities` holds the join keys, a row per pair; `request_data` a column per name, or one value for all rows.
        Raises Feast's errors for unknown names, ContractError for a join key that is missing.
        """
        read = self.answer(features, entities, request_data, full_feature_names=full_feature_names)
        given = entities if isinstance(entities, pa.Table) else pa.table(read.request.keys)
        return pa.Table.from_arrays([*given.columns, *read.columns()], [*given.column_names, *read.plan.outputs])

    def matrix(
        self,
        features: str | FeatureService | list[str],
        entities: Columns,
        columns: Sequence[str],
        request_data: Mapping[str, Any] | None = None,
        *,
        dtype: type[np.floating] = np.float64,
        full_feature_names: bool = False,
    ) -> np.ndarray:
        """Return number features as a matrix (rows, columns) in the given column order; null is NaN, true is 1.

        Raises ContractError for a column that the service does not have or that is not a number.
        """
        read = self.answer(features, entities, request_data, full_feature_names=full_feature_names)
        for name in columns:
            if name not in read.plan.outputs:
                raise _unknown(name, read.plan)
        return read.matrix(columns, dtype)

    def answer(
        self,
        features: str | FeatureService | list[str],
        entities: Columns,
        request_data: Mapping[str, Any] | None = None,
        *,
        full_feature_names: bool = False,
    ) -> Answer:
        """Return what was read before it is decoded: single columns, or a matrix of some of them."""
        return self._read(*self._prepare(features, entities, request_data, full_feature_names))

    def keep(self, features: str | FeatureService | list[str], join_keys: Sequence[str]) -> None:
        """Hold the views of a request that have exactly these join keys in memory, as they are now, where they fit.

        Requests read the rest of the store as ever, and these views too once they were written again.
        """
        if not isinstance(self._online, PackedOnlineStore):
            return
        plan = self._planner.plan(self.store.config, self.store.registry, self._named(features), False)
        views = [read.view for read in plan.reads if read.keys == tuple(join_keys)]
        self._online.keep(self.store.config, views)

    def _named(self, features: str | FeatureService | list[str]) -> FeatureService | list[str]:
        return self._service(features) if isinstance(features, str) else features

    def _prepare(
        self,
        features: str | FeatureService | list[str],
        entities: Columns,
        request_data: Mapping[str, Any] | None,
        full_feature_names: bool,
    ) -> tuple[Plan, RequestColumns]:
        store = self.store
        plan = self._planner.plan(store.config, store.registry, self._named(features), full_feature_names)
        columns = _columns(entities)
        rows = len(next(iter(columns.values()), ()))
        for name, values in (request_data or {}).items():
            columns[name] = pa.repeat(pa.array([values])[0], rows) if np.ndim(values) == 0 else values
        request = request_columns(plan, columns)
        for read in plan.reads:
            for key in read.required_keys:
                if key not in request.keys:
                    raise ContractError(
                        f"request for {len(plan.outputs)} features",
                        expected=f"the join key {key!r} of view {read.feature_view.name}",
                        got=f"columns {', '.join(columns)}",
                        fix="Pass it with the entities.",
                    )
        return plan, request

    def _service(self, name: str) -> FeatureService:
        """Return a registered service, read again only when Feast has read its registry again."""
        registry = self.store.registry
        since = getattr(registry, "cached_registry_proto_created", None)
        held = self._services.get(name)
        if held is None or held[0] != since or not registry.is_cache_valid():
            service = registry.get_feature_service(name, self.store.project, allow_cache=True)
            held = self._services[name] = (getattr(registry, "cached_registry_proto_created", None), service)
        return held[1]

    def _read(self, plan: Plan, request: RequestColumns) -> Answer:
        config = self.store.config
        if isinstance(self._online, PackedOnlineStore):
            return self._online.answer(config, plan, request)
        answer = redis_answer if is_redis(self._online) else feast_answer
        return answer(self._online, config, plan, request, self._clock.now())


def read_features(
    store: FeatureStore,
    feature_service: str | FeatureService | list[str],
    entities: Columns,
    request_data: Mapping[str, Any] | None = None,
) -> pa.Table:
    """Read one request as a table; see BulkReader.features, which is faster for many."""
    return BulkReader(store).features(feature_service, entities, request_data)


def read_matrix(
    store: FeatureStore,
    feature_service: str | FeatureService | list[str],
    entities: Columns,
    columns: Sequence[str],
    request_data: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """Read one request as a float64 matrix; see BulkReader.matrix, which is faster for many."""
    return BulkReader(store).matrix(feature_service, entities, columns, request_data)


def to_matrix(table: pa.Table, columns: Sequence[str], dtype: type[np.floating] = np.float64) -> np.ndarray:
    """Turn number columns of a table into the matrix that BulkReader.matrix gives for the same values."""
    result = np.empty((table.num_rows, len(columns)), dtype)
    for place, name in enumerate(columns):
        values, nulls = number_column(name, table[name].combine_chunks())
        result[:, place] = values
        if nulls is not None:
            result[nulls, place] = np.nan
    return result


def _columns(entities: Columns) -> dict[str, Any]:
    if isinstance(entities, pa.Table):
        return {name: entities[name].combine_chunks() for name in entities.column_names}
    return dict(entities)


def _unknown(name: str, plan: Plan) -> ContractError:
    return ContractError(
        f"column {name}",
        expected="a feature of the request",
        got=f"a request for {', '.join(plan.outputs)}",
        fix=f"Add it to the service, or train the model on the service as it is.{did_you_mean(name, plan.outputs)}",
    )
