"""How long ago things happened, in days, seen from the time of the request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from feature_repo.on_demand.columns import (
    REQUEST_TIME,
    TIMES,
    Columns,
    PairFunction,
    on_demand_view,
    side_by_side,
    whole_seconds,
)

if TYPE_CHECKING:
    from feast import FeatureView, OnDemandFeatureView

# Output, and the time whose distance to the request it is; those of one view one after the other.
AGES: Final = {
    "user_days_since_first_event": "user_first_event_at",
    "user_days_since_last_event": "user_last_event_at",
    "user_days_since_last_target": "user_last_target_at",
    "item_days_since_first_event": "item_first_event_at",
    "item_days_since_last_event": "item_last_event_at",
    "item_mean_event_age_7d": "item_mean_event_at_7d",
    "item_mean_event_age_30d": "item_mean_event_at_30d",
    "item_mean_event_age_90d": "item_mean_event_at_90d",
    "item_days_since_release": "item_released_at",
    "pair_days_since_last_event": "pair_last_event_at",
    "pair_days_since_last_target": "pair_last_target_at",
    "pair_days_since_last_passive": "pair_last_passive_at",
}


VIEWS: Final = {
    "user_activity": [name for name in AGES.values() if name.startswith("user_")],
    "item_popularity": [name for name in AGES.values() if name.startswith("item_") and "event" in name],
    "item_attributes": ["item_released_at"],
    "user_item": [name for name in AGES.values() if name.startswith("pair_")],
}


def compute(columns: Columns) -> np.ndarray:
    from feature_repo import pair_loops

    now = whole_seconds(columns[REQUEST_TIME])
    out = np.empty((len(AGES), len(now)), np.float32)
    done = 0
    for names in VIEWS.values():
        pair_loops.ages(now, *side_by_side(columns, names), out[done : done + len(names)])
        done += len(names)
    return out


FUNCTION: Final = PairFunction(
    name="recency",
    inputs={view: dict.fromkeys(names, TIMES) for view, names in VIEWS.items()},
    outputs=tuple(AGES),
    compute=compute,
    shared=True,
)

on_arrow = FUNCTION.on_arrow


def define(views: Mapping[str, FeatureView]) -> OnDemandFeatureView | None:
    return on_demand_view(FUNCTION, views)
