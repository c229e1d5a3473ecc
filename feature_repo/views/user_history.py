"""A user's latest items with a label, as the fit at the cut saw them, and as every event pushed them since.

Stage one writes its rows itself.
"""

from __future__ import annotations

from datetime import timedelta

from feast import FeatureView

from feature_repo.data_set import DataSet
from feature_repo.entities import feast_fields, user, user_key
from feature_repo.first_stage import SWAP_BY, SWAP_CUT, SWAP_TAG, USER_HISTORY, cut_column
from feature_repo.sources import source


def define(data: DataSet) -> FeatureView | None:
    if USER_HISTORY not in data.learned_fields:
        return None
    return FeatureView(
        name=USER_HISTORY,
        entities=[user(data)],
        ttl=timedelta(0),
        schema=[user_key(data), *feast_fields(data.learned_fields[USER_HISTORY])],
        source=source(USER_HISTORY, data),
        tags={"stage": "one", SWAP_TAG: SWAP_CUT, SWAP_BY: cut_column(USER_HISTORY)},
    )
