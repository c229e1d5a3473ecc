"""What became of items like this one: smoothed, out-of-time target encoding of its categories and attributes.

Popularity is the mean over the items of a group of ln(1 + target events of 30 days), a rate is targets per event.
"""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView, Field
from feast.types import Float32

from feature_repo.data_set import DataSet
from feature_repo.entities import item, item_key
from feature_repo.sources import source


def define(data: DataSet) -> FeatureView:
    return FeatureView(
        name="item_encoding",
        entities=[item(data)],
        ttl=timedelta(0),
        schema=[
            item_key(data),
            Field(name="item_group_popularity_max", dtype=Float32),
            Field(name="item_group_popularity_mean", dtype=Float32),
            Field(name="item_group_rate_max", dtype=Float32),
            Field(name="item_group_rate_mean", dtype=Float32),
        ],
        source=source("item_encoding", data),
    )
