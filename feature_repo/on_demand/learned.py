"""Pair functions over what stage one learned: their columns follow from the sources that publish it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_repo.on_demand.columns import PairFunction

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureView


@dataclass(frozen=True)
class LearnedFunction:
    """A pair function for any sources: `make` builds it for the columns, with their types, of views or of a frame."""

    make: Callable[[Mapping[str, pa.DataType]], PairFunction]

    def on_arrow(self, table: pa.Table) -> pa.Table:
        """Apply the function for the sources whose columns the table has."""
        types = {field.name: field.type for field in table.schema}
        plain = {name: kind.value_type if pa.types.is_dictionary(kind) else kind for name, kind in types.items()}
        return self.make(plain).on_arrow(table)

    def on_frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Apply the function for the sources whose columns the frame has."""
        return self.make({name: _type_in_pandas(frame[name]) for name in frame.columns}).on_frame(frame)


def _type_in_pandas(values: pd.Series) -> pa.DataType:
    """Return the type of a column's first value that says something; a list's, where pandas holds objects."""
    filled = values[values.map(np.size) > 0] if values.dtype.kind == "O" else values
    return pa.array(filled.iloc[:1]).type if len(filled) else pa.list_(pa.int64())


def columns_of(views: Mapping[str, FeatureView], names: Iterable[str]) -> dict[str, pa.DataType]:
    """Return the features of some views with their Arrow types."""
    from feast.types import from_feast_to_pyarrow_type

    return {
        feature.name: from_feast_to_pyarrow_type(feature.dtype) for name in names for feature in views[name].features
    }


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


def same_cut(left: pa.Array, right: pa.Array) -> np.ndarray:
    """Return bool per row: whether both sides come from one fit. Null, no row, is no fit."""
    times = (side.cast(pa.int64()) for side in (left, right))
    return np.equal(*(time.fill_null(place).to_numpy(zero_copy_only=False) for place, time in enumerate(times)))
