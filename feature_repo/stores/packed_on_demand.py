"""On-demand feature views over Arrow columns, once per request, by the view's own transformation.

A view tagged `arrow: <package.module.function>` is computed by that function (table of its inputs -> table of its
features) without a detour through pandas; the view's own transformation then has to give the same values. Lists that
rows share, a user's in a request, reach it as dictionary arrays (`feature_repo.on_demand.columns.plain` undoes that).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Final

import pyarrow as pa
from feast.on_demand_feature_view import OnDemandFeatureView

from feature_repo.errors import ContractError, did_you_mean
from feature_repo.stores.packed_request import Plan, output_name

ARROW_TAG: Final = "arrow"


def transform(view: OnDemandFeatureView, inputs: pa.Table, plan: Plan) -> dict[str, pa.Array]:
    """Return the columns that the plan asks of one on-demand view.

    `inputs` holds join keys, request data and the features of the view's sources under their short names.
    """
    wanted = plan.on_demand_outputs(view)
    if not wanted:
        return {}
    full = plan.full_feature_names
    if ARROW_TAG in view.tags:
        result = _arrow_function(view.tags[ARROW_TAG])(inputs)
        names = [output_name(view, name, full) for name in result.column_names] if full else result.column_names
    else:
        result = view.transform_arrow(inputs, full)
        names = result.column_names
    found = dict(zip(names, result.columns, strict=True))
    for name in wanted:
        if name not in found:
            raise ContractError(
                f"on-demand view {view.name}",
                expected=f"a column {name!r} from its transformation",
                got=f"columns {', '.join(names)}",
                fix=f"Return every feature of its schema.{did_you_mean(name, names)}",
            )
    return {name: _one(found[name]) for name in wanted}


def inputs_of(view: OnDemandFeatureView) -> dict[str, tuple[str, str]]:
    """Return the (view, feature) that each input column of a view's transformation comes from."""
    sources = view.source_feature_view_projections.values()
    return {f.name: (source.name, f.name) for source in sources for f in source.features}


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


@lru_cache
def _arrow_function(path: str) -> Callable[[pa.Table], pa.Table]:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
