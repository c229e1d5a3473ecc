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
    numbers,
    on_demand_view,
    whole_seconds,
)

if TYPE_CHECKING:
    from feast import FeatureView, OnDemandFeatureView

DAYS: Final = (7, 30, 90)


def compute(columns: Columns) -> np.ndarray:
    now = whole_seconds(columns[REQUEST_TIME])
    ages, events = np.empty((2, len(DAYS), len(now)))
    for own_age, own_events, days in zip(ages, events, DAYS, strict=True):
        np.subtract(now, whole_seconds(columns[f"item_mean_event_at_{days}d"]), out=own_age)
        own_events[:] = numbers(columns[f"item_events_{days}d"])
    ages /= 86_400
    days = np.array(DAYS)[:, None]
    slopes = 12 * events * (days / 2 - ages) / days**3
    slopes[events == 0] = 0.0
    trends = np.empty((2, *slopes.shape), np.float32)
    trends[0] = slopes
    np.divide(slopes * days, events / days + 1, out=trends[1])
    return trends.reshape(2 * len(DAYS), len(now))


FUNCTION: Final = PairFunction(
    name="trend",
    inputs={
        "item_popularity": {
            **{f"item_events_{days}d": pa.int32() for days in DAYS},
            **{f"item_mean_event_at_{days}d": TIMES for days in DAYS},
        }
    },
    outputs=tuple(f"item_{what}_{days}d" for what in ("slope", "tendency") for days in DAYS),
    compute=compute,
    shared=True,
)

on_arrow = FUNCTION.on_arrow


def define(views: Mapping[str, FeatureView]) -> OnDemandFeatureView | None:
    return on_demand_view(FUNCTION, views)
