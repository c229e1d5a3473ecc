"""A request for online features, resolved against the registry: which views, which keys, which columns come back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from feast.feature_service import FeatureService
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL, FeatureView
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import RepoConfig
from feast.utils import _get_cached_request_context, _parse_feature_ref, ensure_request_data_values_exist
from feast.value_type import ValueType

from feature_repo.stores.packed_keys import Asked
from feature_repo.stores.packed_values import value_type_to_arrow
from feature_repo.stores.packed_view import PackedView

if TYPE_CHECKING:
    from feast.protos.feast.types.Value_pb2 import RepeatedValue

EntityValues = Mapping[str, "Sequence[Any] | RepeatedValue"]


@dataclass(frozen=True)
class ViewRead:
    """What a request takes from one view: its features under their names in the answer, and where its keys come from.

    `keys` names the request's column for each join key of the view, in the view's order.
    """

    feature_view: FeatureView
    view: PackedView
    features: dict[str, str]
    value_types: dict[str, ValueType]
    keys: tuple[str, ...]

    @property
    def is_on_demand(self) -> bool:
        """Whether it is an on-demand view that was computed when it was written."""
        return isinstance(self.feature_view, OnDemandFeatureView)

    def is_number(self, feature: str) -> bool:
        """Whether a feature is stored as a number."""
        return self.view.layout.by_name[feature].is_number

    @property
    def required_keys(self) -> list[str]:
        """The columns that a request has to bring for this view."""
        return [key for key in self.keys if key != DUMMY_ENTITY_ID]

    def key_arrays(self, columns: Mapping[str, pa.Array], rows: int) -> list[pa.Array]:
        """Return a request's key columns as the view stores them; raises KeyError for one that is missing."""
        own = {
            name: pa.repeat(DUMMY_ENTITY_VAL, rows) if name == DUMMY_ENTITY_ID else columns[column]
            for name, column in zip(self.view.keys.names, self.keys, strict=True)
        }
        return self.view.keys.arrays(own, f"feature view {self.view.name}")


@dataclass(frozen=True)
class Plan:
    """A resolved request. `outputs` are the columns asked for, in the order of the references."""

    context: tuple
    reads: tuple[ViewRead, ...]
    on_demand: tuple[OnDemandFeatureView, ...]
    outputs: tuple[str, ...]
    entity_types: dict[str, ValueType]
    entity_names: dict[str, str]
    join_keys: frozenset[str]
    request_data: dict[str, ValueType]
    on_demand_types: dict[str, ValueType]
    full_feature_names: bool

    def asked(self, request: RequestColumns) -> list[Asked]:
        """Encode the keys of a request for each view, once for views with the same keys.

        Raises KeyError for a join key that is missing.
        """
        made: dict[tuple, Asked] = {}
        for read in self.reads:
            way = (read.keys, read.view.keys.kinds)
            if way not in made:
                made[way] = read.view.keys.asked(read.key_arrays(request.keys, request.rows))
        return [made[read.keys, read.view.keys.kinds] for read in self.reads]

    def on_demand_outputs(self, view: OnDemandFeatureView) -> list[str]:
        """Return the columns asked for of one on-demand view, as they are named in the answer."""
        own = {output_name(view, feature.name, self.full_feature_names) for feature in view.features}
        return [name for name in self.outputs if name in own]


class Planner:
    """Resolves requests; a plan is kept for as long as Feast keeps its own resolution of the same request."""

    def __init__(self) -> None:
        self._plans: dict[tuple, Plan] = {}

    def plan(
        self,
        config: RepoConfig,
        registry: BaseRegistry,
        features: list[str] | FeatureService,
        full_feature_names: bool,
    ) -> Plan:
        """Resolve a request; raises Feast's own errors for unknown views, features and colliding names."""
        context = _get_cached_request_context(registry, config.project, features, full_feature_names)
        name = features.name if isinstance(features, FeatureService) else tuple(features)
        key = (isinstance(features, FeatureService), name, full_feature_names)
        plan = self._plans.get(key)
        if plan is None or plan.context is not context:
            plan = self._plans[key] = _resolve(config, context, full_feature_names)
        return plan


def output_name(view: FeatureView | OnDemandFeatureView, feature: str, full: bool) -> str:
    """Return the name under which a view's feature comes back."""
    return f"{view.projection.name_to_use()}__{feature}" if full else feature


def _resolve(config: RepoConfig, context: tuple, full: bool) -> Plan:
    refs, on_demand, entity_names, entity_types, join_keys, grouped, _, _, _ = context
    return Plan(
        context=context,
        reads=tuple(_view_read(config, view, features, refs, full) for view, features in grouped),
        on_demand=tuple(on_demand),
        outputs=tuple(_outputs(refs, full)),
        entity_types=dict(entity_types),
        entity_names=dict(entity_names),
        join_keys=frozenset(str(key) for key in join_keys),
        request_data={name: kind for view in on_demand for name, kind in view.get_request_data_schema().items()},
        on_demand_types={
            output_name(view, field.name, full): field.dtype.to_value_type()
            for view in on_demand
            for field in view.features
        },
        full_feature_names=full,
    )


def _outputs(refs: Sequence[str], full: bool) -> list[str]:
    parsed = [_parse_feature_ref(ref) for ref in refs]
    if not full:
        return [feature for _, _, feature in parsed]
    return [f"{view}{'' if version is None else f'@v{version}'}__{feature}" for view, version, feature in parsed]


def _view_read(
    config: RepoConfig, view: FeatureView, features: Sequence[str], refs: Sequence[str], full: bool
) -> ViewRead:
    wanted = [feature for _, _, feature in map(_parse_feature_ref, refs)]
    place = {name: i for i, name in reversed(list(enumerate(wanted)))}
    ordered = sorted(features, key=lambda name: (place.get(name, len(place)), name))
    packed, aliases = PackedView.of(config, view), view.projection.join_key_map
    return ViewRead(
        feature_view=view,
        view=packed,
        features={name: output_name(view, name, full) for name in ordered},
        value_types={field.name: field.dtype.to_value_type() for field in view.features},
        keys=tuple(aliases.get(name, name) for name in packed.keys.names),
    )


@dataclass(frozen=True)
class RequestColumns:
    """The caller's columns, typed: join keys, then request data; `rows` is their common length."""

    keys: dict[str, pa.Array]
    data: dict[str, pa.Array]
    rows: int


def request_columns(plan: Plan, entity_values: EntityValues) -> RequestColumns:
    """Sort the caller's columns into join keys and request data, as Feast does; others are ignored.

    Raises ValueError for columns of different lengths, Feast's error for missing request data, pa.ArrowInvalid or
    pa.ArrowTypeError for values that are not of the entity's type.
    """
    lists = {name: _plain(values) for name, values in entity_values.items()}
    lengths = {len(values) for values in lists.values()}
    if len(lengths) > 1:
        raise ValueError("All entity rows must have the same columns.")
    keys: dict[str, pa.Array] = {}
    data: dict[str, pa.Array] = {}
    for name, values in lists.items():
        if name in plan.request_data:
            data[name] = _typed(values, plan.request_data[name])
        elif name in plan.join_keys:
            keys[name] = _typed(values, plan.entity_types.get(name, ValueType.UNKNOWN))
        elif name in plan.entity_names:
            warnings.warn("Using entity name is deprecated. Use join_key instead.", stacklevel=4)
            join_key = plan.entity_names[name]
            keys[join_key] = _typed(values, plan.entity_types.get(join_key, ValueType.UNKNOWN))
    ensure_request_data_values_exist(set(plan.request_data), data)
    return RequestColumns(keys, data, lengths.pop() if lengths else 0)


def _typed(values: Sequence[Any] | pa.Array, kind: ValueType) -> pa.Array:
    target = value_type_to_arrow(kind)
    if isinstance(values, pa.Array):
        return values if target is None or values.type == target else values.cast(target)
    return pa.array(values, target)


def _plain(values: Sequence[Any] | RepeatedValue) -> Sequence[Any]:
    if hasattr(values, "val"):
        values = list(values.val)
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    if len(values) and isinstance(values[0], Value):
        which = [value.WhichOneof("val") for value in values]
        return [None if name is None else getattr(value, name) for value, name in zip(values, which, strict=True)]
    return values
