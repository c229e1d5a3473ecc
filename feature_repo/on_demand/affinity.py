"""How well an item's categories match what the user goes for: max, mean and sum over the item's categories.

Zero where the user never met the category; null where the user has no categories yet or the item has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from feature_repo.on_demand.columns import COUNTS, NAMES, SHARES, Columns, PairFunction, on_demand_view
from feature_repo.on_demand.lists import RowLists, match_positions, pooled, shared_codes

if TYPE_CHECKING:
    from feast import FeatureView, OnDemandFeatureView

# Output prefix, and the list beside the user's categories that it pools.
POOLED: Final = {
    "affinity_share_7d": "user_category_share_7d",
    "affinity_share_30d": "user_category_share_30d",
    "affinity_share_all": "user_category_share_all",
    "affinity_events_all": "user_category_events_all",
    "affinity_value": "user_category_value_mean",
}


def compute(columns: Columns) -> dict[str, np.ndarray]:
    users = RowLists.of(columns["user_categories"])
    items = RowLists.of(columns["item_categories"])
    user_codes, item_codes, width = shared_codes(users.values, items.values)
    positions = match_positions(users, user_codes, items, item_codes, width)
    empty = (users.lengths == 0) | (items.lengths == 0)
    result: dict[str, np.ndarray] = {}
    for prefix, name in POOLED.items():
        values = RowLists.of(columns[name]).values.to_numpy(zero_copy_only=False).astype(np.float64)
        taken = np.where(positions >= 0, values[np.maximum(positions, 0)] if len(values) else 0.0, 0.0)
        for how, pool in pooled(np.nan_to_num(taken), items).items():
            result[f"{prefix}_{how}"] = np.where(empty, np.nan, pool)
    return result


FUNCTION: Final = PairFunction(
    name="affinity",
    inputs={
        "user_category_affinity": {
            "user_categories": NAMES,
            **{name: COUNTS if "events" in name else SHARES for name in POOLED.values()},
        },
        "item_attributes": {"item_categories": NAMES},
    },
    outputs=tuple(f"{prefix}_{how}" for prefix in POOLED for how in ("max", "mean", "sum")),
    compute=compute,
)

on_arrow = FUNCTION.on_arrow


def define(views: Mapping[str, FeatureView]) -> OnDemandFeatureView | None:
    return on_demand_view(FUNCTION, views)
