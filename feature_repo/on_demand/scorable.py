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
from feature_repo.on_demand.shared import derived

if TYPE_CHECKING:
    from feast import FeatureView, OnDemandFeatureView

COUNT: Final = "sources_count"


def compute(columns: Columns, sources: Sequence[str]) -> np.ndarray:
    flags = np.empty((1 + len(sources), len(columns[COUNT])), np.float32)
    flags[0] = numbers(columns[COUNT]) > 0
    for own, source in zip(flags[1:], sources, strict=True):
        own[:] = derived(columns[f"{source}_zscore"], valid, valid)
    return flags


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
