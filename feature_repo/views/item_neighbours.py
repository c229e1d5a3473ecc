"""For each item the items in a history that speak most for it, per source. Stage one writes its rows itself."""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView

from feature_repo.data_set import DataSet
from feature_repo.entities import feast_fields, item, item_key
from feature_repo.first_stage import ITEM_NEIGHBOURS, SWAP_CUT, SWAP_TAG
from feature_repo.sources import source


def define(data: DataSet) -> FeatureView | None:
    if ITEM_NEIGHBOURS not in data.learned_fields:
        return None
    return FeatureView(
        name=ITEM_NEIGHBOURS,
        entities=[item(data)],
        ttl=timedelta(0),
        schema=[item_key(data), *feast_fields(data.learned_fields[ITEM_NEIGHBOURS])],
        source=source(ITEM_NEIGHBOURS, data),
        tags={"stage": "one", SWAP_TAG: SWAP_CUT},
    )
