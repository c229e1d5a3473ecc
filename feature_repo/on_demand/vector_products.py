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
from feature_repo.on_demand.columns import SHARES, TIMES, Columns, PairFunction, numbers, on_demand_view
from feature_repo.on_demand.learned import LearnedFunction, same_cut, sources_between
from feature_repo.on_demand.lists import RowLists, as_numbers, derived_lists, padded, row_numbers
from feature_repo.on_demand.shared import Column

if TYPE_CHECKING:
    from feast import FeatureView, OnDemandFeatureView

SIDES: Final = {"user": USER_VECTORS, "item": ITEM_VECTORS}
BLOCK_ROWS: Final = 1 << 15


def compute(columns: Columns, sources: list[str], biased: list[str]) -> dict[str, np.ndarray]:
    one_fit = same_cut(*(columns[cut_column(view)] for view in SIDES.values()))
    result: dict[str, np.ndarray] = {}
    for source in sources:
        dot, cosine = _products(*(columns[vector_column(side, source)] for side in SIDES))
        if source in biased:
            dot += sum(numbers(columns[bias_column(side, source)]) for side in SIDES)
        result[f"{source}_dot"] = np.where(one_fit, dot, np.nan)
        result[f"{source}_cosine"] = np.where(one_fit, cosine, np.nan)
    return result


@dataclass(frozen=True)
class _Vectors:
    """Distinct vectors: float64 (lists, longest), zeros behind the shorter ones; lengths, and sizes, NaN for none."""

    matrix: np.ndarray
    length: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, column: pa.ListArray) -> Self:
        lists = RowLists.of(column)
        matrix = padded(as_numbers(lists.values), lists.lengths, lists.longest)
        size = np.where(lists.lengths > 0, lists.lengths, np.nan)
        return cls(matrix, np.sqrt((matrix * matrix).sum(axis=1)), size)

    def cut(self, width: int) -> np.ndarray:
        """Return the first columns of the vectors."""
        return self.matrix if self.matrix.shape[1] == width else np.ascontiguousarray(self.matrix[:, :width])


def _products(users: Column, items: Column) -> tuple[np.ndarray, np.ndarray]:
    """Return dot product and cosine by row, float64, summed in an order that does not depend on the other rows."""
    user, item = derived_lists(users, _Vectors.of), derived_lists(items, _Vectors.of)
    user_row, item_row = row_numbers(users), row_numbers(items)
    # What is longer has nothing of its length on the other side.
    width = min(user.matrix.shape[1], item.matrix.shape[1])
    left, right = user.cut(width), item.cut(width)
    dot = np.empty(len(user_row))
    for start in range(0, len(dot), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        vectors = left.take(user_row[rows], axis=0)
        vectors *= right.take(item_row[rows], axis=0)
        vectors.sum(axis=1, out=dot[rows])
    dot[user.size.take(user_row) != item.size.take(item_row)] = np.nan
    length = user.length.take(user_row) * item.length.take(item_row)
    return dot, np.divide(dot, length, out=np.full(len(dot), np.nan), where=length > 0)


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
