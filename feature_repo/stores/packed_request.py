"""A request for online features, resolved against the registry: which views, which keys, which columns come back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
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

from feature_repo.stores.packed import as_slice
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
class OnDemandStep:
    """An on-demand view to compute; `inputs`: the number of the read and the feature of each of its inputs."""

    view: OnDemandFeatureView
    inputs: dict[str, tuple[int, str]]


@dataclass(frozen=True)
class StoredStep:
    """Number features of one read, by its number, and the columns of a matrix that they fill, ascending."""

    read: int
    features: tuple[str, ...]
    each: tuple[int, ...]

    @cached_property
    def places(self) -> slice | list[int]:
        return as_slice(list(self.each))


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
    _stored_steps: dict[tuple, list[StoredStep]] = field(default_factory=dict, compare=False)

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
        return self._on_demand_outputs.get(view.name, [])

    @cached_property
    def _on_demand_outputs(self) -> dict[str, list[str]]:
        full = self.full_feature_names
        owner = {
            output_name(view, feature.name, full): view.name for view in self.on_demand for feature in view.features
        }
        outputs: dict[str, list[str]] = {}
        for name in self.outputs:
            if name in owner:
                outputs.setdefault(owner[name], []).append(name)
        return outputs

    @cached_property
    def on_demand_steps(self) -> list[OnDemandStep]:
        """The on-demand views of which something is asked, with the reads that their inputs come from."""
        place = {
            (read.feature_view.projection.name, feature): (number, feature)
            for number, read in enumerate(self.reads)
            for feature in read.features
        }
        return [
            OnDemandStep(view, {name: place[source] for name, source in inputs_of(view).items()})
            for view in self.on_demand
            if self.on_demand_outputs(view)
        ]

    def stored_steps(self, names: tuple[str, ...], places: tuple[int, ...], texts: frozenset[str]) -> list[StoredStep]:
        """Return which stored number columns lie where in a matrix, view by view; `texts` are none of them."""
        made = self._stored_steps.get((names, places, texts))
        if made is None:
            at = {name: place for name, place in zip(names, places, strict=True) if name not in texts}
            made = []
            for number, read in enumerate(self.reads):
                own = {f: at[output] for f, output in read.features.items() if output in at and read.is_number(f)}
                if own:
                    ordered = sorted(own, key=own.__getitem__)
                    made.append(StoredStep(number, tuple(ordered), tuple(own[name] for name in ordered)))
            self._stored_steps[names, places, texts] = made
        return made


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


def inputs_of(view: OnDemandFeatureView) -> dict[str, tuple[str, str]]:
    """Return the (view, feature) that each input column of a view's transformation comes from."""
    sources = view.source_feature_view_projections.values()
    return {f.name: (source.name, f.name) for source in sources for f in source.features}


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
