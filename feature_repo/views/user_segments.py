"""The groups that a user belongs to by attributes, and what their members go for: target encoding, month by month.

Parallel lists: a group of each of the first four category attributes, its attribute, its share of all target events; a
category, its share of the target events of the user's groups, and how many times everybody's share that is. Left out
where users have no categories.
"""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView, Field
from feast.types import Array, Float32, String

from feature_repo.data_set import DataSet
from feature_repo.entities import user, user_key
from feature_repo.sources import source


def define(data: DataSet) -> FeatureView | None:
    if "category" not in data.user_attributes.values():
        return None
    return FeatureView(
        name="user_segments",
        entities=[user(data)],
        ttl=timedelta(0),
        schema=[
            user_key(data),
            Field(name="user_segments", dtype=Array(String)),
            Field(name="user_segment_attributes", dtype=Array(String)),
            Field(name="user_segment_priors", dtype=Array(Float32)),
            Field(name="segment_categories", dtype=Array(String)),
            Field(name="segment_category_shares", dtype=Array(Float32)),
            Field(name="segment_category_lifts", dtype=Array(Float32)),
        ],
        source=source("user_segments", data),
    )
