"""List columns as offsets and values: lists that rows share, numbers in them, values looked up by list and code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from struct import Struct
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import DTypeLike

from feature_repo.on_demand.codes import Codes, Lookup, at_indices
from feature_repo.on_demand.columns import HELD, TIMES, numbers, seconds, valid
from feature_repo.on_demand.shared import Column, Made, Shared

_OFFSET = Struct("<i")
_TWO_OFFSETS = Struct("<ii")
_FIRST = np.zeros(1, np.int64)


@dataclass(frozen=True)
class RowLists:
    """One list per row: `starts` and `lengths` (int64, by row) into `values`. A null list has length 0."""

    starts: np.ndarray
    lengths: np.ndarray
    values: pa.Array

    @classmethod
    def of(cls, column: pa.ListArray) -> Self:
        """Read a list column, whatever slice of a larger one it is."""
        if len(column) == 1 and not column.null_count:
            start, stop = _bounds(column)
            return cls(_FIRST, np.array([stop - start]), _between(column.values, start, stop))
        offsets = _offsets(column).astype(np.int64)
        lengths = offsets[1:] - offsets[:-1]
        if column.null_count:
            null = column.is_null().to_numpy(zero_copy_only=False)
            if lengths[null].any():  # flatten() leaves out the values under null lists
                lengths[null] = 0
                return cls(np.cumsum(lengths) - lengths, lengths, column.flatten())
        first = int(offsets[0])
        return cls(offsets[:-1] - first, lengths, _between(column.values, first, int(offsets[-1])))

    @cached_property
    def rows(self) -> np.ndarray:
        """The row of every value."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @cached_property
    def longest(self) -> int:
        return int(self.lengths.max(initial=0))

    @cached_property
    def vocabulary(self) -> tuple[Codes, np.ndarray]:
        """The distinct values, and int64 codes of all values: positions from 1, behind the last one for a null."""
        coded = self.values.dictionary_encode()
        return Codes.of(coded.dictionary), at_indices(np.arange(1, len(coded.dictionary) + 2), coded)

    def codes_in(self, vocabulary: Codes) -> np.ndarray:
        """Return codes of the values by another vocabulary; 0 for one that it does not have."""
        codes = vocabulary.find(self.values)
        if self.values.null_count:
            codes[valid(self.values) == 0] = vocabulary.size + 1
        return codes

    def lookup(self, codes: np.ndarray, width: int) -> Lookup:
        """Index the values by list and code, of which there are `width`."""
        keys = codes.astype(np.int64) if len(self.lengths) == 1 else self.rows * width + codes
        return Lookup.of(keys, len(self.lengths) * width)

    @cached_property
    def own_lookup(self) -> Lookup:
        """`lookup` by the own vocabulary."""
        vocabulary, codes = self.vocabulary
        return self.lookup(codes, code_width(vocabulary))


def code_width(vocabulary: Codes) -> int:
    """Return how many codes there are: one per value, one for a null, one for a value that is not there."""
    return vocabulary.size + 2


@dataclass(frozen=True)
class NumberedLists:
    """Lists that rows share: `row` (int64, by row) numbers `lists`; a null is an empty list."""

    row: np.ndarray
    lists: RowLists

    @classmethod
    def of(cls, column: Column) -> Self:
        """Read a list column."""
        return cls(row_numbers(column), derived_lists(column, RowLists.of))

    @property
    def sizes(self) -> np.ndarray:
        """The length of each row's list."""
        return self.lists.lengths.take(self.row)


def elements(column: Column) -> pa.Array:
    """Return the values of a list column's lists, one list after the other."""
    return _elements(column.values.array if isinstance(column, Shared) else column)


def _elements(lists: pa.ListArray) -> pa.Array:
    if lists.null_count:
        return lists.flatten()
    # A third of the time of `flatten` for a user's single list.
    return _between(lists.values, *_bounds(lists))


def held_elements(lists: pa.ListArray) -> np.ndarray | None:
    """Return the numbers in lists, or their times in microseconds, as Arrow holds them; None where one may be null.

    For a user's single list this takes a third of the time of making an Arrow array of them first.
    """
    dtype = HELD.get(lists.type.value_type.id)
    if dtype is None or lists.null_count:
        return None
    values, (_, offsets, known, data) = lists.values, lists.buffers()
    if data is None or (known is not None and values.null_count):
        return None
    start, stop = _bounds_in(offsets, lists)
    return np.frombuffer(data, dtype, stop - start, dtype.itemsize * (values.offset + start))


def _bounds(lists: pa.ListArray) -> tuple[int, int]:
    """Return where the elements of lists begin and end."""
    return _bounds_in(lists.buffers()[1], lists)


def _bounds_in(offsets: pa.Buffer, lists: pa.ListArray) -> tuple[int, int]:
    count, place = len(lists), 4 * lists.offset
    if count == 1:
        return _TWO_OFFSETS.unpack_from(offsets, place)
    if not count:
        return 0, 0  # Arrow may hold no offsets at all
    return *_OFFSET.unpack_from(offsets, place), *_OFFSET.unpack_from(offsets, place + 4 * count)


def _between(values: pa.Array, start: int, stop: int) -> pa.Array:
    return values if stop - start == len(values) else values.slice(start, stop - start)


def _offsets(lists: pa.ListArray) -> np.ndarray:
    """Return the offsets of a list column, one more than it has lists, as Arrow holds them."""
    if not len(lists):
        return np.zeros(1, np.int32)  # Arrow may hold none at all
    return np.frombuffer(lists.buffers()[1], np.int32, len(lists) + 1, 4 * lists.offset)


def row_numbers(column: Column) -> np.ndarray:
    """Return the number of each row's list (int64)."""
    return column.numbers if isinstance(column, Shared) else np.arange(len(column))


def derived_lists(column: Column, make: Callable[[pa.Array], Made]) -> Made:
    """Return what a function makes of a column's lists, each of them once."""
    return column.values.made(make, make) if isinstance(column, Shared) else make(column)


def numbers_in(column: Column) -> np.ndarray:
    """Return the values of a list column's lists as float64, NaN for null; times as seconds."""
    return derived_lists(column, _numbers_in)


def numbers_block(
    columns: Mapping[str, Column], names: Sequence[str], missing: float = 0.0, dtype: DTypeLike = np.float64
) -> np.ndarray:
    """Return the values of parallel list columns as float64 (values + 1, names): `missing` for NaN and at the end.

    The end is where -1 leads: what a value that is not there has. Times are seconds. With another dtype, numbers have
    that one.
    """
    chosen = [columns[name] for name in names]
    lists = [column.values.array if isinstance(column, Shared) else column for column in chosen]
    if not all(isinstance(column, Shared) for column in chosen):
        return _block(lists, missing, dtype)
    # Kept with the first column's values: those of the others were read with them.
    what = (numbers_block, *names, missing, dtype)
    return chosen[0].values.made(what, lambda _: _block(lists, missing, dtype))


def _block(lists: Sequence[pa.ListArray], missing: float, dtype: DTypeLike) -> np.ndarray:
    values = [held_elements(column) for column in lists]
    values = [_numbers_in(column) if own is None else own for column, own in zip(lists, values, strict=True)]
    block = np.empty((len(values[0]) + 1, len(values)), dtype)
    block[-1] = missing
    rounded = block.dtype.kind == "i"
    for place, own in enumerate(values):
        kind = own.dtype.kind
        block[:-1, place] = np.nan_to_num(own, nan=missing) if rounded and kind == "f" else own
        if kind == "i" and lists[place].type.value_type.id == TIMES.id:
            block[:-1, place] /= 1e6
    if not rounded and missing == missing:
        block[np.isnan(block)] = missing
    return block


def _numbers_in(column: pa.ListArray) -> np.ndarray:
    return _as_numbers(_elements(column))


def _as_numbers(values: pa.Array) -> np.ndarray:
    return seconds(values) if values.type.id == TIMES.id else numbers(values)


def padded(values: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
    """Lay lists out as (lists, width), zeros behind the shorter ones; `values` holds them one after the other."""
    if len(values) == width * len(lengths):
        return values.reshape(len(lengths), width)
    result = np.zeros((len(lengths), width), values.dtype)
    result[np.arange(width) < lengths[:, None]] = values
    return result


def shared_codes(left: pa.Array, right: pa.Array) -> tuple[np.ndarray, np.ndarray, int]:
    """Return int64 codes of two arrays of names in one vocabulary, and its size."""
    joined = pa.concat_arrays([left, right]).dictionary_encode()
    codes = pc.fill_null(joined.indices, len(joined.dictionary)).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes[: len(left)], codes[len(left) :], len(joined.dictionary) + 1
