"""How popular an item is among users like this one: conditioned on the groups of `user_segments`, pooled over them.

A share is the part of the item's target events that came from the user's group, smoothed as if the item had begun with
some events in the proportion of all events; a lift is that share over the group's share of all events, so an item that
nobody knows has 1. `audience_value` is the mean value that the groups gave. Null for users without a known group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from feature_repo.on_demand.columns import COUNTS, NAMES, SHARES, Columns, PairFunction, on_demand_view
from feature_repo.on_demand.lists import NumberedLists, numbers_block, numbers_in
from feature_repo.on_demand.matches import Matches

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


def compute(columns: Columns) -> dict[str, np.ndarray]:
    users = NumberedLists.of(columns["user_segments"])
    items = NumberedLists.of(columns["item_segments"])
    matches = Matches.of(items, users)
    # An attribute stands among the item's groups, with the sum over them: a group that never went for it has no entry.
    attributes = Matches.of(items, NumberedLists.of(columns["user_segment_attributes"]))
    events = numbers_block(columns, EVENTS)
    priors = numbers_in(columns["user_segment_priors"]).take(matches.right)
    share = (matches.taken(events) + PRIOR_EVENTS * priors) / (attributes.taken(events) + PRIOR_EVENTS)
    lift = share / priors
    values = matches.taken(numbers_block(columns, [VALUE], missing=np.nan))
    known = ~np.isnan(values)
    sums = matches.rows.sums(np.concatenate([share, lift, np.where(known, values, 0.0), known]))
    means, best = matches.rows.means(sums[: 2 * len(WINDOWS)]), matches.rows.greatest(lift)
    unknown = users.sizes == 0
    means[:, unknown] = best[:, unknown] = np.nan
    result = dict(zip(OUTPUTS, (*means, *best), strict=False))
    total, count = sums[2 * len(WINDOWS) :]
    result["audience_value"] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return result


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
