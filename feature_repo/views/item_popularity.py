"""How popular an item is and where that goes: events, targets and users by window, smoothed rates, values, times."""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView, Field
from feast.types import Float32, Int32, UnixTimestamp

from feature_repo.data_set import DataSet
from feature_repo.entities import item, item_key
from feature_repo.sources import source

WINDOWS = ("1d", "7d", "30d", "90d", "all")


def define(data: DataSet) -> FeatureView:
    return FeatureView(
        name="item_popularity",
        entities=[item(data)],
        ttl=timedelta(0),
        schema=[
            item_key(data),
            *(Field(name=f"item_events_{window}", dtype=Int32) for window in WINDOWS),
            *(Field(name=f"item_targets_{window}", dtype=Int32) for window in WINDOWS),
            Field(name="item_users_all", dtype=Int32),
            Field(name="item_repeat_share", dtype=Float32),
            *(Field(name=f"item_target_rate_{window}", dtype=Float32) for window in ("7d", "30d", "all")),
            Field(name="item_trend_1d_7d", dtype=Float32),
            Field(name="item_trend_7d_30d", dtype=Float32),
            Field(name="item_trend_30d_90d", dtype=Float32),
            *(Field(name=f"item_value_mean_{window}", dtype=Float32) for window in ("30d", "90d", "all")),
            Field(name="item_value_spread_all", dtype=Float32),
            Field(name="item_first_event_at", dtype=UnixTimestamp),
            Field(name="item_last_event_at", dtype=UnixTimestamp),
            *(Field(name=f"item_mean_event_at_{window}", dtype=UnixTimestamp) for window in ("7d", "30d", "90d")),
        ],
        source=source("item_popularity", data),
    )
