"""How well a user's vector and an item's go together: dot product (biases added, where there are any) and cosine.

The dot product is the source's own score, so it also stands for pairs that nobody proposed. Null where either side has
no vector, or where they come from two fits; the cosine also where a vector is zero. Raw dimensions are no features:
they rotate at every refit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import pyarrow as pa

from feature_repo.first_stage import ITEM_VECTORS, USER_VECTORS, bias_column, cut_column, vector_column
from feature_repo.on_demand.columns import SHARES, TIMES, Columns, PairFunction, held, numbers, on_demand_view
from feature_repo.on_demand.learned import LearnedFunction, same_cut, sources_between
from feature_repo.on_demand.lists import RowLists, derived_lists, held_elements, padded, row_numbers
from feature_repo.on_demand.shared import Column

if TYPE_CHECKING:
    from feast import FeatureView, OnDemandFeatureView

SIDES: Final = {"user": USER_VECTORS, "item": ITEM_VECTORS}


def compute(columns: Columns, sources: list[str], biased: list[str]) -> np.ndarray:
    one_fit = same_cut(*(columns[cut_column(view)] for view in SIDES.values()))
    result = np.empty((len(sources), 2, len(one_fit)), np.float32)
    for own, source in zip(result, sources, strict=True):
        dot, cosine = _products(one_fit, *(columns[vector_column(side, source)] for side in SIDES))
        if source in biased:
            dot += sum(numbers(columns[bias_column(side, source)]) for side in SIDES)
        own[0], own[1] = dot, cosine
    return result.reshape(2 * len(sources), len(one_fit))


@dataclass(frozen=True)
class _Vectors:
    """Distinct vectors: float32 (lists, longest), zeros behind the shorter ones, and their sizes (int32)."""

    matrix: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, column: pa.ListArray) -> Self:
        held = held_elements(column)
        if len(column) == 1 and held is not None:
            return cls(held[None], np.array([len(held)], np.int32))
        lists = RowLists.of(column)
        matrix = padded(_floats(lists.values), lists.lengths, lists.longest)
        return cls(matrix, lists.lengths.astype(np.int32))


def _floats(values: pa.Array) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False) if values.null_count else held(values)


def _products(one_fit: np.ndarray, users: Column, items: Column) -> tuple[np.ndarray, np.ndarray]:
    """Return dot product and cosine by row, float64, summed in an order that does not depend on the other rows."""
    from feature_repo import pair_loops

    user, item = derived_lists(users, _Vectors.of), derived_lists(items, _Vectors.of)
    dot, cosine = np.empty((2, len(one_fit)))
    pair_loops.products(
        one_fit, row_numbers(users), row_numbers(items), user.matrix, item.matrix, user.size, item.size,
        dot, cosine,
    )  # fmt: skip
    return dot, cosine


def _make(columns: Sequence[str], _: pa.DataType) -> PairFunction:
    """Build the function for the sources whose vectors are among the columns."""
    sources, biased = sources_between(columns, "user_", "_vector"), sources_between(columns, "user_", "_bias")
    return PairFunction(
        name="vector_products",
        inputs={
            view: {
                **{vector_column(side, source): SHARES for source in sources},
                **{bias_column(side, source): pa.float32() for source in biased},
                cut_column(view): TIMES,
            }
            for side, view in SIDES.items()
        },
        outputs=tuple(f"{source}_{how}" for source in sources for how in ("dot", "cosine")),
        compute=partial(compute, sources=sources, biased=biased),
        shared=True,
    )


FUNCTION: Final = LearnedFunction(_make)

on_arrow = FUNCTION.on_arrow


def define(views: Mapping[str, FeatureView]) -> OnDemandFeatureView | None:
    if USER_VECTORS not in views:
        return None
    return on_demand_view(FUNCTION.of_views(views, SIDES.values()), views)
