"""The entity table: what stage one proposes at a cut, as features of the pair. Stage one writes its rows itself."""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView

from feature_repo.data_set import DataSet
from feature_repo.entities import feast_fields, item, item_key, user, user_key
from feature_repo.first_stage import CANDIDATES, SWAP_CUT, SWAP_TAG
from feature_repo.sources import source


def define(data: DataSet) -> FeatureView:
    return FeatureView(
        name=CANDIDATES,
        entities=[user(data), item(data)],
        ttl=timedelta(0),
        schema=[user_key(data), item_key(data), *feast_fields(data.candidate_fields)],
        source=source(CANDIDATES, data),
        tags={"stage": "one", SWAP_TAG: SWAP_CUT},
    )
