"""What an item is: its categories, its release, and every attribute that came with the data."""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView, Field
from feast.types import Array, Int32, String, UnixTimestamp

from feature_repo.data_set import DataSet
from feature_repo.entities import attribute_fields, item, item_key
from feature_repo.sources import source


def define(data: DataSet) -> FeatureView:
    return FeatureView(
        name="item_attributes",
        entities=[item(data)],
        ttl=timedelta(0),
        schema=[
            item_key(data),
            Field(name="item_categories", dtype=Array(String)),
            Field(name="item_categories_count", dtype=Int32),
            Field(name="item_title_length", dtype=Int32),
            Field(name="item_released_at", dtype=UnixTimestamp),
            *attribute_fields("item", data.item_attributes),
        ],
        source=source("item_attributes", data),
    )
