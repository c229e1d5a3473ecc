"""What an item makes of being shown: weighted targets, impressions, CTR and conversion, distinct users and days."""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView, Field
from feast.types import Float32, Int32

from feature_repo.data_set import DataSet
from feature_repo.entities import item, item_key
from feature_repo.sources import source

WINDOWS = ("7d", "30d", "all")


def define(data: DataSet) -> FeatureView:
    return FeatureView(
        name="item_engagement",
        entities=[item(data)],
        ttl=timedelta(0),
        schema=[
            item_key(data),
            *(Field(name=f"item_target_weight_{window}", dtype=Float32) for window in ("7d", "30d", "90d", "all")),
            *(Field(name=f"item_impressions_{window}", dtype=Int32) for window in WINDOWS),
            *(Field(name=f"item_ctr_{window}", dtype=Float32) for window in WINDOWS),
            *(Field(name=f"item_conversion_{window}", dtype=Float32) for window in WINDOWS),
            *(Field(name=f"item_users_{window}", dtype=Int32) for window in ("7d", "30d")),
            *(Field(name=f"item_repeat_share_{window}", dtype=Float32) for window in ("7d", "30d")),
            *(Field(name=f"item_days_{window}", dtype=Int32) for window in WINDOWS),
            *(Field(name=f"item_value_spread_{window}", dtype=Float32) for window in ("30d", "90d")),
        ],
        source=source("item_engagement", data),
    )
