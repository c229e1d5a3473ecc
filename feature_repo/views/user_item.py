"""What has happened between a user and an item so far."""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView, Field
from feast.types import Float32, Int32, UnixTimestamp

from feature_repo.data_set import DataSet
from feature_repo.entities import item, item_key, user, user_key
from feature_repo.sources import source

WINDOWS = ("7d", "30d", "all")


def define(data: DataSet) -> FeatureView:
    return FeatureView(
        name="user_item",
        entities=[user(data), item(data)],
        ttl=timedelta(0),
        schema=[
            user_key(data),
            item_key(data),
            *(Field(name=f"pair_events_{window}", dtype=Int32) for window in WINDOWS),
            *(Field(name=f"pair_targets_{window}", dtype=Int32) for window in WINDOWS),
            Field(name="pair_target_weight_all", dtype=Float32),
            Field(name="pair_consumed_all", dtype=Int32),
            *(Field(name=f"pair_passive_{window}", dtype=Int32) for window in WINDOWS),
            Field(name="pair_passive_unanswered", dtype=Int32),
            Field(name="pair_value_mean", dtype=Float32),
            Field(name="pair_last_event_at", dtype=UnixTimestamp),
            Field(name="pair_last_target_at", dtype=UnixTimestamp),
            Field(name="pair_last_passive_at", dtype=UnixTimestamp),
        ],
        source=source("user_item", data),
    )
