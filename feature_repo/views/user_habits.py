"""How a user acts: sessions and gaps, a liking for what is popular, weighted activity by window, spread of value."""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView, Field
from feast.types import Float32, Int32

from feature_repo.data_set import DataSet
from feature_repo.entities import user, user_key
from feature_repo.sources import source

WINDOWS = ("30d", "90d", "all")


def define(data: DataSet) -> FeatureView:
    return FeatureView(
        name="user_habits",
        entities=[user(data)],
        ttl=timedelta(0),
        schema=[
            user_key(data),
            Field(name="user_sessions_all", dtype=Int32),
            Field(name="user_events_per_session", dtype=Float32),
            Field(name="user_gap_mean_hours", dtype=Float32),
            *(Field(name=f"user_gap_mean_hours_{window}", dtype=Float32) for window in ("30d", "90d")),
            Field(name="user_session_gap_mean_days", dtype=Float32),
            Field(name="user_gap_last_hours", dtype=Float32),
            *(Field(name=f"user_popular_share_{window}", dtype=Float32) for window in WINDOWS),
            *(Field(name=f"user_item_fame_mean_{window}", dtype=Float32) for window in WINDOWS),
            *(Field(name=f"user_target_weight_{window}", dtype=Float32) for window in ("7d", "30d", "90d")),
            *(Field(name=f"user_consumed_{window}", dtype=Int32) for window in ("7d", "30d", "all")),
            *(Field(name=f"user_value_spread_{window}", dtype=Float32) for window in ("30d", "90d")),
        ],
        source=source("user_habits", data),
    )
