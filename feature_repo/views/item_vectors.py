"""Items' vectors, norms and biases of the sources that publish them. Stage one writes its rows itself."""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView

from feature_repo.data_set import DataSet
from feature_repo.entities import feast_fields, item, item_key
from feature_repo.first_stage import ITEM_VECTORS, SWAP_CUT, SWAP_TAG
from feature_repo.sources import source


def define(data: DataSet) -> FeatureView | None:
    if ITEM_VECTORS not in data.learned_fields:
        return None
    return FeatureView(
        name=ITEM_VECTORS,
        entities=[item(data)],
        ttl=timedelta(0),
        schema=[item_key(data), *feast_fields(data.learned_fields[ITEM_VECTORS])],
        source=source(ITEM_VECTORS, data),
        tags={"stage": "one", SWAP_TAG: SWAP_CUT},
    )
