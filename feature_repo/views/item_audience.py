"""Who goes for an item, week by week: target events by the groups of the user, as parallel lists.

One entry per group so far ("gender=F"), and one per attribute ("gender") with the sum of its groups. The first four
category attributes of users count. Left out where users have none.
"""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView, Field
from feast.types import Array, Float32, Int32, String

from feature_repo.data_set import DataSet
from feature_repo.entities import item, item_key
from feature_repo.sources import source

WINDOWS = ("30d", "90d", "all")


def define(data: DataSet) -> FeatureView | None:
    if "category" not in data.user_attributes.values():
        return None
    return FeatureView(
        name="item_audience",
        entities=[item(data)],
        ttl=timedelta(0),
        schema=[
            item_key(data),
            Field(name="item_segments", dtype=Array(String)),
            *(Field(name=f"item_segment_events_{window}", dtype=Array(Int32)) for window in WINDOWS),
            Field(name="item_segment_value_mean", dtype=Array(Float32)),
        ],
        source=source("item_audience", data),
    )
