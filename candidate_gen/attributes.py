"""Attribute columns of users and items as segments and as sparse token matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

_NOT_WORD = r"[^\p{L}\p{N}]+"


@dataclass(frozen=True)
class Tokens:
    """What is said about rows: `counts` (rows x tokens, float32) and the tokens' names, sorted.

    A token is a word of a text, `column=value` for a value of a list, `column=#bin` for a number or time.
    """

    counts: sparse.csr_array
    names: pa.Array


def is_category(kind: pa.DataType) -> bool:
    """Is a column of this type a category, one value per row?"""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind)


def is_number(kind: pa.DataType) -> bool:
    """Is a column of this type a number or a time, which is cut into quantile bins?"""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_temporal(kind)


def segment_codes(column: pa.ChunkedArray, bins: int) -> tuple[np.ndarray, list[str]]:
    """Return a segment per row (int32, -1 for null) and the segments' names.

    Categories are their own segments, in order of value; numbers and times fall into at most `bins` quantile bins.
    """
    if is_number(column.type):
        return _quantile_bins(column, bins)
    values = column.cast(pa.string()).combine_chunks()
    names = pc.unique(values.drop_null())
    names = names.take(pc.sort_indices(names))
    codes = pc.fill_null(pc.index_in(values, value_set=names), -1)
    return codes.to_numpy(zero_copy_only=False).astype(np.int32), names.to_pylist()


def token_matrix(table: pa.Table, *, rows: int, bins: int = 10, min_rows: int = 2, limit: int = 50_000) -> Tokens:
    """Count the tokens of every column that has any.

    Tokens of fewer than `min_rows` rows are left out; of more than `limit` the most frequent stay, ties by name.
    """
    found = [_tokens_of(name, table[name], bins) for name in table.column_names]
    row = np.concatenate([part[0] for part in found] or [np.empty(0, np.int64)])
    words = pa.chunked_array([part[1] for part in found], pa.string()).combine_chunks()
    encoded = words.dictionary_encode()
    counts = sparse.coo_array(
        (np.ones(len(row), np.float32), (row, encoded.indices.to_numpy())), shape=(rows, len(encoded.dictionary))
    ).tocsr()
    frequency = np.bincount(counts.indices, minlength=len(encoded.dictionary))
    by_name = pc.sort_indices(encoded.dictionary).to_numpy()
    ranked = by_name[np.argsort(-frequency[by_name], kind="stable")][:limit]
    chosen = np.zeros(len(frequency), bool)
    chosen[ranked] = frequency[ranked] >= min_rows
    columns = by_name[chosen[by_name]]
    picked = sparse.csr_array(counts[:, columns])
    picked.sort_indices()
    return Tokens(picked, encoded.dictionary.take(pa.array(columns)))


def _tokens_of(name: str, column: pa.ChunkedArray, bins: int) -> tuple[np.ndarray, pa.Array]:
    """Return (row, token) pairs of one column; none for a type that holds no tokens."""
    kind = column.type
    if pa.types.is_list(kind) and is_category(kind.value_type):
        return _flatten(column.combine_chunks(), prefix=f"{name}=")
    if is_number(kind):
        codes, names = segment_codes(column, bins)
        known = np.flatnonzero(codes >= 0)
        labels = pa.array([f"{name}={bin_name}" for bin_name in names], pa.string())
        return known, labels.take(pa.array(codes[known]))
    if is_category(kind):
        text = pc.utf8_lower(column.cast(pa.string()).combine_chunks())
        return _flatten(pc.split_pattern_regex(text, _NOT_WORD), prefix="")
    return np.empty(0, np.int64), pa.array([], pa.string())


def _flatten(lists: pa.ListArray, prefix: str) -> tuple[np.ndarray, pa.Array]:
    values = lists.flatten().cast(pa.string())
    filled = pc.fill_null(pc.not_equal(values, ""), False)
    row = pc.list_parent_indices(lists).filter(filled)
    return row.to_numpy(), pc.binary_join_element_wise(prefix, values.filter(filled), "")


def _quantile_bins(column: pa.ChunkedArray, bins: int) -> tuple[np.ndarray, list[str]]:
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    values = pc.cast(column, pa.float64()).combine_chunks()
    numbers = pc.fill_null(values, np.nan).to_numpy(zero_copy_only=False)
    known = np.isfinite(numbers)
    if not known.any():
        return np.full(len(numbers), -1, np.int32), []
    edges = np.unique(np.quantile(numbers[known], np.arange(1, bins) / bins, method="lower"))
    codes = np.where(known, np.searchsorted(edges, numbers, side="left"), -1).astype(np.int32)
    return codes, [f"#{number}" for number in range(len(edges) + 1)]
