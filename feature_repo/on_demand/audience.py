"""How popular an item is among users like this one: conditioned on the groups of `user_segments`, pooled over them.

A share is the part of the item's target events that came from the user's group, smoothed as if the item had begun with
some events in the proportion of all events; a lift is that share over the group's share of all events, so an item that
nobody knows has 1. `audience_value` is the mean value that the groups gave. Null for users without a known group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from feature_repo.on_demand.columns import COUNTS, NAMES, SHARES, Columns, PairFunction, on_demand_view
from feature_repo.on_demand.lists import NumberedLists, RowLists, derived_lists, numbers_block, numbers_in
from feature_repo.on_demand.matches import Index

if TYPE_CHECKING:
    from feast import FeatureView, OnDemandFeatureView

WINDOWS: Final = ("30d", "90d", "all")
PRIOR_EVENTS: Final = 20.0
EVENTS: Final = tuple(f"item_segment_events_{window}" for window in WINDOWS)
VALUE: Final = "item_segment_value_mean"
OUTPUTS: Final = (
    *(f"audience_{what}_{window}" for what in ("share", "lift", "lift_max") for window in WINDOWS),
    "audience_value",
)


def compute(columns: Columns) -> np.ndarray:
    from feature_repo import pair_loops

    users = NumberedLists.of(columns["user_segments"])
    items = NumberedLists.of(columns["item_segments"])
    groups = users.lists
    # An attribute stands among the item's groups, with the sum over them: a group that never went for it has no entry.
    # Groups and attributes are parallel lists, so they are one list of names to look up.
    attributes = derived_lists(columns["user_segment_attributes"], RowLists.of)
    index = Index.of(items, replace(groups, values=pa.concat_arrays([groups.values, attributes.values])))
    out = np.empty((len(OUTPUTS), len(users.row)), np.float32)
    pair_loops.lifts(
        *index.lookup, index.left, users.row, groups.starts, groups.lengths,
        index.codes[: len(groups.values)], index.codes[len(groups.values) :],
        numbers_in(columns["user_segment_priors"]), PRIOR_EVENTS,
        numbers_block(columns, EVENTS, dtype=np.int32), numbers_block(columns, [VALUE], np.nan, np.float32), out,
    )  # fmt: skip
    return out


FUNCTION: Final = PairFunction(
    name="audience",
    inputs={
        "user_segments": {
            "user_segments": NAMES,
            "user_segment_attributes": NAMES,
            "user_segment_priors": SHARES,
        },
        "item_audience": {
            "item_segments": NAMES,
            **dict.fromkeys(EVENTS, COUNTS),
            VALUE: SHARES,
        },
    },
    outputs=OUTPUTS,
    compute=compute,
    shared=True,
)

on_arrow = FUNCTION.on_arrow


def define(views: Mapping[str, FeatureView]) -> OnDemandFeatureView | None:
    return on_demand_view(FUNCTION, views)
