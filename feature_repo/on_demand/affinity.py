"""How well an item's categories match what the user goes for, pooled over the item's categories.

Zero where the user never met the category; null where the user has no categories yet or the item has none. The time
since the user's last target event in one of the categories is null, too, where there was none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from feature_repo.on_demand.columns import (
    COUNTS,
    MOMENTS,
    NAMES,
    REQUEST_TIME,
    SHARES,
    Columns,
    PairFunction,
    on_demand_view,
    whole_seconds,
)
from feature_repo.on_demand.lists import NumberedLists, numbers_block
from feature_repo.on_demand.matches import Index

if TYPE_CHECKING:
    from feast import FeatureView, OnDemandFeatureView

# Output prefix, and the list beside the user's categories that it pools.
POOLED: Final = {
    "affinity_share_7d": "user_category_share_7d",
    "affinity_share_30d": "user_category_share_30d",
    "affinity_share_all": "user_category_share_all",
    "affinity_events_all": "user_category_events_all",
    "affinity_value": "user_category_value_mean",
    "affinity_streak": "user_category_streak",
}
HOW: Final = ("max", "mean", "sum")
COUNTED: Final = frozenset({"user_category_events_all", "user_category_streak"})
LAST: Final = "user_category_last_at"
SINCE: Final = "affinity_days_since_last"


def compute(columns: Columns) -> np.ndarray:
    from feature_repo import pair_loops

    users = NumberedLists.of(columns["user_categories"])
    items = NumberedLists.of(columns["item_categories"])
    index = Index.of(users, items.lists)
    out = np.empty((len(HOW) * len(POOLED) + 1, len(users.row)), np.float32)
    # Seconds since 1970 are above zero, so that the latest wins over a category that the user never met.
    pair_loops.affinities(
        *index.lookup, index.left, users.row, users.lists.lengths, items.row, items.lists.starts, items.lists.lengths,
        index.codes, numbers_block(columns, (*POOLED.values(), LAST)), whole_seconds(columns[REQUEST_TIME]), out,
    )  # fmt: skip
    return out


FUNCTION: Final = PairFunction(
    name="affinity",
    inputs={
        "user_category_affinity": {
            "user_categories": NAMES,
            **{name: COUNTS if name in COUNTED else SHARES for name in POOLED.values()},
            LAST: MOMENTS,
        },
        "item_attributes": {"item_categories": NAMES},
    },
    outputs=(*(f"{prefix}_{how}" for prefix in POOLED for how in HOW), SINCE),
    compute=compute,
    shared=True,
)

on_arrow = FUNCTION.on_arrow


def define(views: Mapping[str, FeatureView]) -> OnDemandFeatureView | None:
    return on_demand_view(FUNCTION, views)
