"""On-demand feature views over Arrow columns, once per request, by the view's own transformation.

A view tagged `arrow: <package.module.function>` is computed by that function (table of its inputs -> table of its
features) without a detour through pandas; the view's own transformation then has to give the same values. Lists that
rows share, a user's in a request, reach it as dictionary arrays (`feature_repo.on_demand.columns.plain` undoes that).
Where the function is a pair function's `on_arrow`, its columns need no table: it is given values and row numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Final, TypeVar

import numpy as np
import pyarrow as pa
from feast.on_demand_feature_view import OnDemandFeatureView

from feature_repo.errors import ContractError, did_you_mean
from feature_repo.on_demand.columns import PairFunction
from feature_repo.on_demand.learned import LearnedFunction
from feature_repo.on_demand.shared import Shared
from feature_repo.stores.packed_request import Plan, output_name

ARROW_TAG: Final = "arrow"
Column = TypeVar("Column")


def pair_function(view: OnDemandFeatureView) -> PairFunction | LearnedFunction | None:
    """Return the pair function whose `on_arrow` the view's tag names, None for any other function."""
    owner = getattr(_arrow_function(view.tags[ARROW_TAG]), "__self__", None) if ARROW_TAG in view.tags else None
    return owner if isinstance(owner, PairFunction | LearnedFunction) else None


def compute(
    function: PairFunction | LearnedFunction, view: OnDemandFeatureView, columns: Mapping[str, Shared], plan: Plan
) -> dict[str, np.ndarray | pa.Array]:
    """Return what the plan asks of a view by its pair function: numbers as float32, NaN for null, texts as Arrow."""
    wanted = plan.on_demand_outputs(view)
    if not wanted:
        return {}
    own = function.of_columns(columns)
    found: dict[str, np.ndarray | pa.Array] = dict(zip(own.outputs, own.on_columns(columns), strict=True))
    found |= {name: columns[text].plain() for name, text in own.texts.items()}
    if plan.full_feature_names:
        found = {output_name(view, name, full=True): column for name, column in found.items()}
    return _asked(view, wanted, found)


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
    found = _asked(view, wanted, dict(zip(names, result.columns, strict=True)))
    return {name: _one(column) for name, column in found.items()}


def _asked(view: OnDemandFeatureView, wanted: Sequence[str], found: Mapping[str, Column]) -> dict[str, Column]:
    for name in wanted:
        if name not in found:
            raise ContractError(
                f"on-demand view {view.name}",
                expected=f"a column {name!r} from its transformation",
                got=f"columns {', '.join(found)}",
                fix=f"Return every feature of its schema.{did_you_mean(name, found)}",
            )
    return {name: found[name] for name in wanted}


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


@lru_cache
def _arrow_function(path: str) -> Callable[[pa.Table], pa.Table]:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
