"""Where an item's popularity goes: the slope of its daily counts over a window that ends at the request.

The least-squares slope of a rate over D days depends on the number n of events and their mean age a alone,
12 n (D / 2 - a) / D^3, in events per day and day. The tendency is the change over the whole window relative to the mean
daily count, smoothed by one event a day; it lies in (-6, 6).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

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

DAYS: Final = (7, 30, 90)
_DAYS: Final = np.array(DAYS, np.float64)


MEAN_TIMES: Final = tuple(f"item_mean_event_at_{days}d" for days in DAYS)
EVENTS: Final = tuple(f"item_events_{days}d" for days in DAYS)


def compute(columns: Columns) -> np.ndarray:
    from feature_repo import pair_loops

    now = whole_seconds(columns[REQUEST_TIME])
    out = np.empty((2 * len(DAYS), len(now)), np.float32)
    pair_loops.trends(now, *side_by_side(columns, (*MEAN_TIMES, *EVENTS)), _DAYS, out)
    return out


FUNCTION: Final = PairFunction(
    name="trend",
    inputs={
        "item_popularity": {
            **dict.fromkeys(EVENTS, pa.int32()),
            **dict.fromkeys(MEAN_TIMES, TIMES),
        }
    },
    outputs=tuple(f"item_{what}_{days}d" for what in ("slope", "tendency") for days in DAYS),
    compute=compute,
    shared=True,
)

on_arrow = FUNCTION.on_arrow


def define(views: Mapping[str, FeatureView]) -> OnDemandFeatureView | None:
    return on_demand_view(FUNCTION, views)
