"""Join keys as dense integers: equal keys get equal codes, whatever their types, texts and number of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.errors import ContractError

NO_CODE: Final = -1
TABLE_SPAN: Final = 1 << 22
Column = pa.ChunkedArray | pa.Array


class KeyCodes:
    """Codes for the distinct keys of one table (its rows' `codes`, int32, -1 where a part is null).

    `encode` gives another table's rows the same codes, -1 where this table has no such key.
    """

    def __init__(self, columns: Sequence[Column], like: Sequence[pa.DataType], where: str) -> None:
        """Take the key columns of the asking table and the types of the answering one.

        Raises ContractError where the two can't be compared (a text with a number).
        """
        self._where = where
        self._types = [comparable(a.type, b, where) for a, b in zip(columns, like, strict=True)]
        self._parts: list[Lookup] = []
        self._folds: list[Lookup] = []
        self.codes = self._fit(columns)

    def __len__(self) -> int:
        """Return how many distinct keys there are."""
        return len((self._folds or self._parts)[-1])

    def _fit(self, columns: Sequence[Column]) -> np.ndarray:
        codes: np.ndarray | None = None
        for column, data_type in zip(columns, self._types, strict=True):
            part, lookup = _number(normalise(column, data_type))
            self._parts.append(lookup)
            if codes is None:
                codes = part
                continue
            unknown = (codes < 0) | (part < 0)
            folded = _fold(codes, part, len(lookup))
            codes, lookup = _number(pa.array(folded, mask=unknown) if unknown.any() else pa.array(folded))
            self._folds.append(lookup)
        return codes

    def encode(self, columns: Sequence[Column]) -> np.ndarray:
        """Return the codes of other rows (int32; -1 for keys that are null or unknown here)."""
        codes: np.ndarray | None = None
        for place, (column, distinct) in enumerate(zip(columns, self._parts, strict=True)):
            part = distinct.find(normalise(column, self._types[place]))
            if codes is None:
                codes = part
                continue
            known = (codes >= 0) & (part >= 0)
            folded = pa.array(np.where(known, _fold(codes, part, len(distinct)), NO_CODE))
            codes = self._folds[place - 1].find(folded)
        return codes

    def integer_range(self) -> tuple[int, int] | None:
        """Return the least and greatest value of the first key part where it is an integer, to prune files by."""
        if not pa.types.is_integer(self._types[0]) or not len(self._parts[0]):
            return None
        bounds = pc.min_max(self._parts[0].distinct)
        return bounds["min"].as_py(), bounds["max"].as_py()


def comparable(ours: pa.DataType, theirs: pa.DataType, where: str) -> pa.DataType:
    """Return the type in which two key columns compare exactly; raise ContractError where there is none."""
    pair = [_plain(ours), _plain(theirs)]
    if pa.types.is_null(pair[0]) or pa.types.is_null(pair[1]):
        return pair[1] if pa.types.is_null(pair[0]) else pair[0]
    if any(map(pa.types.is_integer, pair)) and all(map(_is_number, pair)):
        return pa.uint64() if all(map(pa.types.is_uint64, pair)) else pa.int64()
    if all(map(_is_number, pair)):
        return pa.float64()
    if all(map(_is_text, pair)):
        return pa.large_string()
    if all(map(_is_bytes, pair)):
        return pa.large_binary()
    if pair[0] == pair[1]:
        return pair[0]
    raise ContractError(
        where,
        expected=f"join keys of one kind (the feature data has {theirs})",
        got=str(ours),
        fix="Cast the key column of the entity frame to the type of the data.",
    )


def normalise(column: Column, data_type: pa.DataType) -> pa.Array:
    """Return the column in a key type; values that it can't hold exactly become null and match nothing."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), None, array)
        if pa.types.is_integer(data_type):
            array = _whole(array)
    if pa.types.is_uint64(array.type) and pa.types.is_int64(data_type):
        array = pc.if_else(pc.less(array, pa.scalar(2**63, pa.uint64())), array, None)
    return array.cast(data_type)


def _whole(array: pa.Array) -> pa.Array:
    """Keep whole numbers that an int64 can hold."""
    inside = pc.and_(pc.greater_equal(array, -(2.0**63)), pc.less(array, 2.0**63))
    exact = pc.and_(inside, pc.equal(array, pc.trunc(array)))
    return pc.if_else(exact, array, None)


def _number(array: pa.Array) -> tuple[np.ndarray, Lookup]:
    """Number the distinct values of a column: int32 codes (-1 for null) and where to find them again."""
    near = _near_integers(array)
    if near is not None:
        lookup = Lookup(near)
        return lookup.find(array), lookup
    encoded = array.dictionary_encode()
    codes = encoded.indices.fill_null(NO_CODE) if encoded.indices.null_count else encoded.indices
    return codes.to_numpy(zero_copy_only=False), Lookup(encoded.dictionary)


def _near_integers(array: pa.Array) -> pa.Array | None:
    """Return the distinct values of integers that lie close together, found without hashing; else None."""
    if not pa.types.is_int64(array.type) or array.null_count or not len(array):
        return None
    values = array.to_numpy()
    low, high = int(values.min()), int(values.max())
    if high - low > max(TABLE_SPAN, len(values)):
        return None
    present = np.zeros(high - low + 1, dtype=bool)
    present[values - low] = True
    return pa.array(np.flatnonzero(present) + low)


class Lookup:
    """Finds the code of a value among distinct ones: by address where they are integers close together, else hashed."""

    def __init__(self, distinct: pa.Array) -> None:
        self.distinct = distinct
        self._table: np.ndarray | None = None
        if not pa.types.is_int64(distinct.type) or not len(distinct):
            return
        values = distinct.to_numpy()
        self._low, self._high = int(values.min()), int(values.max())
        if self._high - self._low <= max(TABLE_SPAN, 4 * len(distinct)):
            self._table = np.full(self._high - self._low + 1, NO_CODE, dtype=np.int32)
            self._table[values - self._low] = np.arange(len(values), dtype=np.int32)

    def __len__(self) -> int:
        return len(self.distinct)

    def find(self, array: pa.Array) -> np.ndarray:
        """Return int32 codes, -1 for nulls and unknown values."""
        if self._table is not None and not array.null_count:
            values = array.to_numpy()
            if len(values) and (values.min() < self._low or values.max() > self._high):
                inside = (values >= self._low) & (values <= self._high)
                return np.where(inside, self._table[np.where(inside, values - self._low, 0)], np.int32(NO_CODE))
            return self._table[values - self._low]
        found = pc.index_in(array, self.distinct, skip_nulls=True)
        codes = found.fill_null(NO_CODE) if found.null_count else found
        return codes.to_numpy(zero_copy_only=False)


def _fold(codes: np.ndarray, part: np.ndarray, size: int) -> np.ndarray:
    """Join two codes into one: both lie below 2**31, so the product can't overflow."""
    return codes.astype(np.int64) * size + part


def _plain(data_type: pa.DataType) -> pa.DataType:
    return data_type.value_type if pa.types.is_dictionary(data_type) else data_type


def _is_number(data_type: pa.DataType) -> bool:
    return pa.types.is_integer(data_type) or pa.types.is_floating(data_type)


def _is_text(data_type: pa.DataType) -> bool:
    return pa.types.is_string(data_type) or pa.types.is_large_string(data_type) or pa.types.is_string_view(data_type)


def _is_bytes(data_type: pa.DataType) -> bool:
    return pa.types.is_binary(data_type) or pa.types.is_large_binary(data_type)
