"""Who a user is: every attribute that came with the data. Left out where there is none."""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView

from feature_repo.data_set import DataSet
from feature_repo.entities import attribute_fields, user, user_key
from feature_repo.sources import source


def define(data: DataSet) -> FeatureView | None:
    fields = attribute_fields("user", data.user_attributes)
    if not fields:
        return None
    return FeatureView(
        name="user_attributes",
        entities=[user(data)],
        ttl=timedelta(0),
        schema=[user_key(data), *fields],
        source=source("user_attributes", data),
    )
