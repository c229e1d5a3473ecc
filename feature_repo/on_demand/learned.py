"""Pair functions over what stage one learned: their columns follow from the sources that publish it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_repo.on_demand.columns import Column, Columns, PairFunction, whole_seconds

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureView


Make = Callable[[Sequence[str], pa.DataType], PairFunction]


class LearnedFunction:
    """A pair function for any sources: `make` builds it from the names of the columns, be it of views or of a frame.

    It is told the type of the column `typed`, too, where that one differs from data to data.
    """

    def __init__(self, make: Make, typed: str | None = None) -> None:
        self.make = lru_cache(maxsize=64)(make)
        self.typed = typed

    def on_arrow(self, table: pa.Table) -> pa.Table:
        """Apply the function for the sources whose columns the table has."""
        kind = pa.null() if self.typed is None else table.schema.field(self.typed).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        return self.make(tuple(table.column_names), kind).on_arrow(table)

    def of_columns(self, columns: Columns) -> PairFunction:
        """Return the function for the sources whose columns there are."""
        return self.make(tuple(columns), pa.null() if self.typed is None else columns[self.typed].type)

    def on_frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Apply the function for the sources whose columns the frame has."""
        kind = pa.null() if self.typed is None else _type_in_pandas(frame[self.typed])
        return self.make(tuple(frame.columns), kind).on_frame(frame)

    def of_views(self, views: Mapping[str, FeatureView], names: Iterable[str]) -> PairFunction:
        """Return the function for what the named views have."""
        from feast.types import from_feast_to_pyarrow_type

        features = {feature.name: feature.dtype for name in names for feature in views[name].features}
        kind = pa.null() if self.typed is None else from_feast_to_pyarrow_type(features[self.typed])
        return self.make(tuple(features), kind)


def _type_in_pandas(values: pd.Series) -> pa.DataType:
    """Return the type of the first list that says something."""
    filled = values.dropna()
    filled = filled[filled.map(np.size) > 0]
    return pa.array(filled.iloc[:1]).type if len(filled) else pa.list_(pa.int64())


def sources_between(columns: Iterable[str], prefix: str, suffix: str) -> list[str]:
    """Return what stands between a prefix and a suffix in column names, ascending.

    Feast may add a column again with its view's name in front, `view__name`: these do not count.

    >>> sources_between(["user_als_vector", "cut"], "user_", "_vector")
    ['als']
    """
    known = set(columns)
    once = {name for name in known if name.partition("__")[2] not in known}
    names = {name for name in once if name.startswith(prefix) and name.endswith(suffix)}
    return sorted(name.removeprefix(prefix).removesuffix(suffix) for name in names)


def same_cut(left: Column, right: Column) -> np.ndarray:
    """Return bool per row: whether both sides come from one fit, in whole seconds. Null, no row, is no fit."""
    return whole_seconds(left) == whole_seconds(right)
