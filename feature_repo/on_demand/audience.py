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
from feature_repo.on_demand.lists import Matches, NumberedLists, numbers_in

if TYPE_CHECKING:
    from feast import FeatureView, OnDemandFeatureView

WINDOWS: Final = ("30d", "90d", "all")
PRIOR_EVENTS: Final = 20.0


def compute(columns: Columns) -> dict[str, np.ndarray]:
    users = NumberedLists.of(columns["user_segments"])
    items = NumberedLists.of(columns["item_segments"])
    matches = Matches.of(items, users)
    unknown = users.lists.lengths[users.row] == 0
    priors = numbers_in(columns["user_segment_priors"])[matches.right]
    # An attribute stands among the item's groups, with the sum over them: a group that never went for it has no entry.
    attributes = Matches.of(items, NumberedLists.of(columns["user_segment_attributes"]))
    result: dict[str, np.ndarray] = {}
    for window in WINDOWS:
        events = numbers_in(columns[f"item_segment_events_{window}"])
        share = (matches.taken(events) + PRIOR_EVENTS * priors) / (attributes.taken(events) + PRIOR_EVENTS)
        result[f"audience_share_{window}"] = _mean(share, matches, unknown)
        result[f"audience_lift_{window}"] = _mean(share / priors, matches, unknown)
        result[f"audience_lift_max_{window}"] = np.where(unknown, np.nan, matches.rows.greatest(share / priors))
    values = matches.taken(numbers_in(columns["item_segment_value_mean"]), missing=np.nan)
    count = matches.rows.sums((~np.isnan(values)).astype(np.float64))
    total = matches.rows.sums(np.nan_to_num(values))
    result["audience_value"] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return result


def _mean(values: np.ndarray, matches: Matches, unknown: np.ndarray) -> np.ndarray:
    return np.where(unknown, np.nan, matches.rows.means(matches.rows.sums(values)))


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
            **{f"item_segment_events_{window}": COUNTS for window in WINDOWS},
            "item_segment_value_mean": SHARES,
        },
    },
    outputs=(
        *(f"audience_{what}_{window}" for what in ("share", "lift", "lift_max") for window in WINDOWS),
        "audience_value",
    ),
    compute=compute,
    shared=True,
)

on_arrow = FUNCTION.on_arrow


def define(views: Mapping[str, FeatureView]) -> OnDemandFeatureView | None:
    return on_demand_view(FUNCTION, views)
