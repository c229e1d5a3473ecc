"""How much the user's groups go for an item's categories: the target encoding of user group x category, at the pair.

A share is the part of the groups' target events that fell on the category, a lift how many times everybody's share that
is. Null where the user has no known group or the item no category that was met before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from feature_repo.on_demand.columns import NAMES, SHARES, Columns, PairFunction, on_demand_view
from feature_repo.on_demand.lists import NumberedLists, numbers_block
from feature_repo.on_demand.matches import Index

if TYPE_CHECKING:
    from feast import FeatureView, OnDemandFeatureView

POOLED: Final = {"segment_taste_share": "segment_category_shares", "segment_taste_lift": "segment_category_lifts"}
HOW: Final = ("max", "mean")


def compute(columns: Columns) -> np.ndarray:
    from feature_repo import pair_loops

    users = NumberedLists.of(columns["segment_categories"])
    items = NumberedLists.of(columns["item_categories"])
    index = Index.of(users, items.lists)
    out = np.empty((len(HOW) * len(POOLED), len(users.row)), np.float32)
    pair_loops.tastes(
        *index.lookup, index.left, items.row, items.lists.starts, items.lists.lengths, index.codes,
        numbers_block(columns, tuple(POOLED.values())), out,
    )  # fmt: skip
    return out


FUNCTION: Final = PairFunction(
    name="segment_taste",
    inputs={
        "user_segments": {"segment_categories": NAMES, **dict.fromkeys(POOLED.values(), SHARES)},
        "item_attributes": {"item_categories": NAMES},
    },
    outputs=tuple(f"{prefix}_{how}" for prefix in POOLED for how in HOW),
    compute=compute,
    shared=True,
)

on_arrow = FUNCTION.on_arrow


def define(views: Mapping[str, FeatureView]) -> OnDemandFeatureView | None:
    return on_demand_view(FUNCTION, views)
