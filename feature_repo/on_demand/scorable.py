"""What stage one can say of a pair, as flags that are never null: 1 for yes, 0 for no.

`in_union`: a source proposed the pair. `<source>_scorable`: the source has scored it; where it has not, its score,
z-score and percentile are null. A pair that reaches the ranker by another way has 0 everywhere. The rank of a pair
outside a source's list is a number larger than any rank; that of a pair outside the union is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from feature_repo.first_stage import CANDIDATES
from feature_repo.on_demand.columns import Columns, PairFunction, numbers, on_demand_view, valid
from feature_repo.on_demand.learned import LearnedFunction, sources_between
from feature_repo.on_demand.shared import Column, Shared, derived

if TYPE_CHECKING:
    from feast import FeatureView, OnDemandFeatureView

COUNT: Final = "sources_count"


def compute(columns: Columns, sources: Sequence[str]) -> np.ndarray:
    flags = np.empty((1 + len(sources), len(columns[COUNT])), np.float32)
    flags[0] = numbers(columns[COUNT]) > 0
    flags[1:] = _scored([columns[f"{source}_zscore"] for source in sources])
    return flags


def _scored(columns: Sequence[Column]) -> np.ndarray:
    """Return 1 for a value, 0 for a null (uint8), by column and row."""
    arrays = [column.values.array if isinstance(column, Shared) else column for column in columns]
    shared = any(isinstance(column, Shared) and column.row is not None for column in columns)
    if shared or len({(array.offset, len(array)) for array in arrays}) != 1:
        return np.stack([derived(column, valid, valid) for column in columns])
    # Arrow's bits of all columns at once: a request has few rows.
    first, rows = arrays[0].offset, len(arrays[0])
    skipped, rest = divmod(first, 8)
    bits = np.full((len(arrays), (rest + rows + 7) // 8), 255, np.uint8)
    for own, array in zip(bits, arrays, strict=True):
        known = array.buffers()[0]
        if known is not None:
            own[:] = np.frombuffer(known, np.uint8, len(own), skipped)
    return np.unpackbits(bits, axis=1, count=rest + rows, bitorder="little")[:, rest:]


def _make(columns: Sequence[str], _: pa.DataType) -> PairFunction:
    # A source has a z-score where it has a score, and no other view's feature is called so.
    sources = sources_between(columns, "", "_zscore")
    return PairFunction(
        name="scorable",
        inputs={CANDIDATES: {COUNT: pa.int32(), **{f"{source}_zscore": pa.float32() for source in sources}}},
        outputs=("in_union", *(f"{source}_scorable" for source in sources)),
        compute=partial(compute, sources=sources),
        shared=True,
    )


FUNCTION: Final = LearnedFunction(_make)

on_arrow = FUNCTION.on_arrow


def define(views: Mapping[str, FeatureView]) -> OnDemandFeatureView | None:
    return on_demand_view(FUNCTION.of_views(views, [CANDIDATES]), views) if CANDIDATES in views else None
