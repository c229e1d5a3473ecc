"""How similar an item is to the user's latest items, by each source that publishes lists of neighbours.

Over the history: `max`, `mean` and `sum` of the similarities, their sum faded with the time (`recent`) and with the
position (`position`) of the history's items before the latest one, and the similarity to the latest one (`last`). An
item of the history that is not among the listed neighbours counts 0. Null where the user has no history, where nothing
is known to speak for the item, and where the two come from two fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import pyarrow as pa

from feature_repo.first_stage import (
    HISTORY_ITEMS,
    HISTORY_TIMES,
    ITEM_NEIGHBOURS,
    USER_HISTORY,
    cut_column,
    neighbours_column,
    weights_column,
)
from feature_repo.on_demand.codes import Codes, at_indices
from feature_repo.on_demand.columns import SHARES, TIMES, Columns, PairFunction, held, on_demand_view
from feature_repo.on_demand.learned import LearnedFunction, same_cut, sources_between
from feature_repo.on_demand.lists import (
    NumberedLists,
    RowLists,
    derived_lists,
    elements,
    held_elements,
    padded,
    row_numbers,
)
from feature_repo.on_demand.shared import Column, Shared

if TYPE_CHECKING:
    from feast import FeatureView, OnDemandFeatureView

HOW: Final = ("max", "mean", "sum", "recent", "position", "last")

HALF_LIFE_DAYS: Final = 14
POSITION_DECAY: Final = 0.9
# By whole hours and looked up, so that the same distance gives the same bits wherever it stands.
_FADING: Final = np.exp2(-np.arange(24 * HALF_LIFE_DAYS * 20 + 1) / (24 * HALF_LIFE_DAYS))
_POSITION: Final = POSITION_DECAY ** np.arange(256)

BLOCK_ROWS: Final = 1 << 15


def compute(columns: Columns, sources: Sequence[str]) -> np.ndarray:
    rows = len(columns[HISTORY_ITEMS])
    if rows <= BLOCK_ROWS or isinstance(columns[HISTORY_ITEMS], Shared):
        return _compute(columns, sources)
    # Lists that come once per row are encoded once per row, too: not those of all rows at a time.
    parts = [
        _compute({name: column.slice(start, BLOCK_ROWS) for name, column in columns.items()}, sources)
        for start in range(0, rows, BLOCK_ROWS)
    ]
    return np.concatenate(parts, axis=1)


def _compute(columns: Columns, sources: Sequence[str]) -> np.ndarray:
    from feature_repo import pair_loops

    listed = _Neighbours.of(columns, sources)
    history = _History.of(columns[HISTORY_ITEMS], columns[HISTORY_TIMES], listed.items)
    one_fit = same_cut(columns[cut_column(USER_HISTORY)], columns[cut_column(ITEM_NEIGHBOURS)])
    pooled = np.empty((len(sources), len(HOW), len(history.row)), np.float32)
    pair_loops.similarities(
        history.order, one_fit, history.row, history.start, history.length, history.code, history.fading, _POSITION,
        listed.items.size + 1, listed.row, listed.code, listed.length, listed.weight, pooled,
    )  # fmt: skip
    return pooled.reshape(len(sources) * len(HOW), len(history.row))


@dataclass(frozen=True)
class _History:
    """Distinct histories, latest item first: `row` numbers them by row, `start` and `length` lead into the elements.

    An element's `code` is the position of its item among the listed ones plus 1, 0 for one that nobody lists.
    `fading`: what is left of an element by the time between it and the latest one of its history.
    """

    row: np.ndarray
    start: np.ndarray
    length: np.ndarray
    code: np.ndarray
    fading: np.ndarray

    @classmethod
    def of(cls, items: Column, times: Column, listed: Codes) -> Self:
        from feature_repo import pair_loops

        numbered = NumberedLists.of(items)
        start, length = numbered.lists.starts, numbered.lists.lengths
        time = derived_lists(times, _moments)
        fading = np.empty(len(time))
        pair_loops.fade(time, start, length, _FADING, fading)
        code = listed.find(numbered.lists.values)
        return cls(numbered.row, start, length, code, fading)

    @property
    def order(self) -> np.ndarray:
        """The rows, those of one history one after the other."""
        if len(self.start) == 1 or (self.row[1:] >= self.row[:-1]).all():
            return np.arange(len(self.row))
        return np.argsort(self.row, kind="stable")


@dataclass(frozen=True)
class _Listed:
    """The lists of neighbours of all sources, those of one number side by side: a request looks at all of an item's.

    `items`: the distinct neighbours; `code` and `weight` are (lists * sources, longest): positions there plus 1, 0
    behind shorter lists.
    """

    items: Codes
    code: np.ndarray
    weight: np.ndarray
    length: np.ndarray

    @classmethod
    def of(cls, ids: Sequence[pa.ListArray], weights: Sequence[pa.ListArray]) -> Self:
        lists = [RowLists.of(column) for column in ids]
        most = max(len(one.lengths) for one in lists)
        lengths = np.zeros((len(lists), most), np.int64)
        for own, one in zip(lengths, lists, strict=True):
            own[: len(one.lengths)] = one.lengths
        encoded = pa.concat_arrays([one.values for one in lists]).dictionary_encode()
        code = at_indices(np.append(np.arange(1, len(encoded.dictionary) + 1, dtype=np.int32), np.int32(0)), encoded)
        weight = pa.concat_arrays([column.flatten() for column in weights]).to_numpy(zero_copy_only=False)
        # In one piece of memory: from some MB on NumPy asks for large pages, and a request looks at many far places.
        whole = np.empty((2, lengths.size, int(lengths.max(initial=0))), np.int32)
        _side_by_side(code, lengths, out=whole[0])
        _side_by_side(weight, lengths, out=whole[1].view(np.float32))
        sizes = lengths.T.ravel().astype(np.int32)
        return cls(Codes.of(encoded.dictionary), whole[0], whole[1].view(np.float32), sizes)


def _side_by_side(values: np.ndarray, lengths: np.ndarray, out: np.ndarray) -> None:
    """Lay out lists (sources, lists) that stand one after the other as (lists * sources, longest), zeros behind."""
    (sources, lists), width = lengths.shape, out.shape[1]
    apart = padded(values, lengths.ravel(), width).reshape(sources, lists, width)
    out.reshape(lists, sources, width)[...] = apart.swapaxes(0, 1)


@dataclass(frozen=True)
class _Neighbours:
    """What the sources list for each row: `row` (sources, rows) numbers the lists."""

    items: Codes
    row: np.ndarray
    code: np.ndarray
    weight: np.ndarray
    length: np.ndarray

    @classmethod
    def of(cls, columns: Columns, sources: Sequence[str]) -> Self:
        ids = [columns[neighbours_column(source)] for source in sources]
        weights = [_distinct(columns[weights_column(source)]) for source in sources]
        if isinstance(ids[0], Shared):
            # Kept with the first source's lists: those of the others were read with them.
            listed = ids[0].values.made(
                ("listed", *sources), lambda _: _Listed.of([_distinct(column) for column in ids], weights)
            )
        else:
            listed = _Listed.of([_distinct(column) for column in ids], weights)
        rows = [row_numbers(column) for column in ids]
        alike = all(row is rows[0] for row in rows)
        row = (rows[0] if alike else np.stack(rows)) * len(ids) + np.arange(len(ids))[:, None]
        return cls(listed.items, row, listed.code, listed.weight, listed.length)


def _moments(times: pa.ListArray) -> np.ndarray:
    """Return the times in lists in microseconds, one list after the other."""
    own = held_elements(times)
    return held(elements(times)) if own is None else own


def _distinct(column: Column) -> pa.ListArray:
    return column.values.array if isinstance(column, Shared) else column


def _make(columns: Sequence[str], items: pa.DataType) -> PairFunction:
    """Build the function for the sources whose neighbours are among the columns; `items`: the type of a list of ids."""
    sources = sources_between(columns, "", neighbours_column(""))
    return PairFunction(
        name="history_similarity",
        inputs={
            USER_HISTORY: {HISTORY_ITEMS: items, HISTORY_TIMES: pa.list_(TIMES), cut_column(USER_HISTORY): TIMES},
            ITEM_NEIGHBOURS: {
                **{neighbours_column(source): items for source in sources},
                **{weights_column(source): SHARES for source in sources},
                cut_column(ITEM_NEIGHBOURS): TIMES,
            },
        },
        outputs=tuple(f"{source}_similarity_{how}" for source in sources for how in HOW),
        compute=partial(compute, sources=sources),
        shared=True,
    )


FUNCTION: Final = LearnedFunction(_make, typed=HISTORY_ITEMS)

on_arrow = FUNCTION.on_arrow


def define(views: Mapping[str, FeatureView]) -> OnDemandFeatureView | None:
    if ITEM_NEIGHBOURS not in views:
        return None
    return on_demand_view(FUNCTION.of_views(views, (USER_HISTORY, ITEM_NEIGHBOURS)), views)
