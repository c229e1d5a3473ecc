"""When and where a request is made: hour and weekday in UTC (Monday is 0), time since the last event, device.

`device` and `surface` come with the request, null where the caller does not know them. These features are kept out of
the ranker's service: all pairs of a cut share one time, so a model could only learn the cut. They have a service of
their own for spines made of logged requests.
"""

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

NAME: Final = "context"
TEXTS: Final = {"context_device": "device", "context_surface": "surface"}


def compute(columns: Columns) -> np.ndarray:
    from feature_repo import pair_loops

    now = whole_seconds(columns[REQUEST_TIME])
    out = np.empty((len(OUTPUTS), len(now)), np.float32)
    pair_loops.moments(now, *side_by_side(columns, ("user_last_event_at",)), out)
    return out


OUTPUTS: Final = ("context_hour", "context_weekday", "context_weekend", "context_hours_since_last_event")

FUNCTION: Final = PairFunction(
    name=NAME,
    inputs={"user_activity": {"user_last_event_at": TIMES}},
    outputs=OUTPUTS,
    compute=compute,
    shared=True,
    texts=TEXTS,
)

on_arrow = FUNCTION.on_arrow


def define(views: Mapping[str, FeatureView]) -> OnDemandFeatureView | None:
    return on_demand_view(FUNCTION, views)
