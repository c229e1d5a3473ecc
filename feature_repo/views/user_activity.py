"""How much a user does: events and targets by window, active days, values, first and last time."""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView, Field
from feast.types import Float32, Int32, UnixTimestamp

from feature_repo.data_set import DataSet
from feature_repo.entities import user, user_key
from feature_repo.sources import source

WINDOWS = ("1d", "7d", "30d", "90d", "all")


def define(data: DataSet) -> FeatureView:
    return FeatureView(
        name="user_activity",
        entities=[user(data)],
        ttl=timedelta(0),
        schema=[
            user_key(data),
            *(Field(name=f"user_events_{window}", dtype=Int32) for window in WINDOWS),
            *(Field(name=f"user_targets_{window}", dtype=Int32) for window in WINDOWS),
            *(Field(name=f"user_days_{window}", dtype=Int32) for window in ("7d", "30d", "all")),
            Field(name="user_items_all", dtype=Int32),
            Field(name="user_target_weight_all", dtype=Float32),
            *(Field(name=f"user_value_mean_{window}", dtype=Float32) for window in ("30d", "90d", "all")),
            Field(name="user_value_spread_all", dtype=Float32),
            Field(name="user_first_event_at", dtype=UnixTimestamp),
            Field(name="user_last_event_at", dtype=UnixTimestamp),
            Field(name="user_last_target_at", dtype=UnixTimestamp),
        ],
        source=source("user_activity", data),
    )
