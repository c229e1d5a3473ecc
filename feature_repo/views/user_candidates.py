"""A user's candidates in one row, in the order of retrieval: what serving reads first. Stage one writes it itself."""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView

from feature_repo.data_set import DataSet
from feature_repo.entities import feast_fields, user, user_key
from feature_repo.first_stage import SWAP_CUT, SWAP_TAG, USER_CANDIDATES
from feature_repo.sources import source


def define(data: DataSet) -> FeatureView:
    return FeatureView(
        name=USER_CANDIDATES,
        entities=[user(data)],
        ttl=timedelta(0),
        schema=[user_key(data), *feast_fields(data.user_candidate_fields)],
        source=source(USER_CANDIDATES, data),
        tags={"stage": "one", SWAP_TAG: SWAP_CUT},
    )
