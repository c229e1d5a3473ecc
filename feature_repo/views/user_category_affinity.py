"""Which categories a user goes for: parallel lists, one entry per category that the user has met, by name."""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView, Field
from feast.types import Array, Float32, Int32, String, UnixTimestamp

from feature_repo.data_set import DataSet
from feature_repo.entities import user, user_key
from feature_repo.sources import source

WINDOWS = ("7d", "30d", "all")


def define(data: DataSet) -> FeatureView:
    return FeatureView(
        name="user_category_affinity",
        entities=[user(data)],
        ttl=timedelta(0),
        schema=[
            user_key(data),
            Field(name="user_categories", dtype=Array(String)),
            *(Field(name=f"user_category_events_{window}", dtype=Array(Int32)) for window in WINDOWS),
            *(Field(name=f"user_category_share_{window}", dtype=Array(Float32)) for window in WINDOWS),
            Field(name="user_category_value_mean", dtype=Array(Float32)),
            Field(name="user_category_last_at", dtype=Array(UnixTimestamp)),
            Field(name="user_category_streak", dtype=Array(Int32)),
            Field(name="user_categories_count", dtype=Int32),
            *(Field(name=f"user_category_entropy_{window}", dtype=Float32) for window in WINDOWS),
        ],
        source=source("user_category_affinity", data),
    )
