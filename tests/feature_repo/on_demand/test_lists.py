"""Lists as offsets and values: slices, nulls, lists that rows share, and ids looked up in a vocabulary."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo import pair_loops
from feature_repo.on_demand.codes import TABLE_CELLS, Codes, Lookup
from feature_repo.on_demand.lists import NumberedLists, RowLists, elements, padded
from feature_repo.on_demand.shared import Shared

FAR = [-(2**63), 2**63 - 1, 2**40, -(2**40), 0, 1, 2, 3, 4_000_000, 4_200_000]
lists = st.lists(st.none() | st.lists(st.integers(0, 9), max_size=4), max_size=9)


def as_lists(numbered: NumberedLists) -> list[list[int]]:
    values, own = numbered.lists.values.to_pylist(), numbered.lists
    return [values[own.starts[row] : own.starts[row] + own.lengths[row]] for row in numbered.row]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(lists, st.integers(0, 3), st.integers(0, 9))
def test_rows_keep_their_lists(rows: list[list[int] | None], start: int, length: int) -> None:
    column = pa.array(rows, pa.list_(pa.int64())).slice(start, length)
    expected = [row or [] for row in column.to_pylist()]
    assert as_lists(NumberedLists.of(column)) == expected
    indices = pa.array([*range(len(column)), None, *range(len(column))][::2], pa.int32())
    shared = pa.DictionaryArray.from_arrays(indices, column)
    numbered = NumberedLists.of(Shared.of(shared))
    assert as_lists(numbered) == [[] if index is None else expected[index] for index in indices.to_pylist()]
    assert elements(Shared.of(shared)).to_pylist() == numbered.lists.values.to_pylist()
    part = Shared.of(shared).slice(1, 3)
    assert [row or [] for row in part.plain().to_pylist()] == as_lists(numbered)[1:4]


def test_values_under_a_null_do_not_count() -> None:
    column = pa.ListArray.from_arrays(pa.array([0, 2, 3]), pa.array([7, 8, 9]), mask=pa.array([True, False]))
    found = RowLists.of(column)
    assert (found.lengths.tolist(), found.values.to_pylist()) == ([0, 1], [9])


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(FAR), unique=True, max_size=6), st.lists(st.sampled_from(FAR), max_size=12))
def test_codes_are_positions_from_one(vocabulary: list[int], values: list[int]) -> None:
    expected = [vocabulary.index(value) + 1 if value in vocabulary else 0 for value in values]
    codes = Codes.of(pa.array(vocabulary, pa.int64()))
    assert codes.find(pa.array(values, pa.int64())).tolist() == expected
    gaps = pa.array([None, *values, None], pa.int64())
    assert codes.find(gaps).tolist() == [0, *expected, 0]
    assert Codes.of(pa.array(map(str, vocabulary), pa.string())).find(gaps.cast(pa.string())).tolist() == [
        0,
        *expected,
        0,
    ]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 9), max_size=12), st.lists(st.integers(0, 9), max_size=12))
def test_a_key_is_found_where_it_first_stands(keys: list[int], wanted: list[int]) -> None:
    expected = [keys.index(key) if key in keys else -1 for key in wanted]
    for cells in (10, TABLE_CELLS + 1):
        lookup = Lookup.of(np.array(keys, np.int64), cells)
        assert [pair_loops.find(*lookup, key) for key in wanted] == expected


@pytest.mark.parametrize(("lengths", "width"), [([2, 0, 3], 3), ([2, 2], 2), ([], 0), ([0], 0), ([1], 4)])
def test_padding_lays_lists_out_in_rows(lengths: list[int], width: int) -> None:
    values = np.arange(1, sum(lengths) + 1)
    rows, stop = [], 0
    for length in lengths:
        rows.append([*values[stop : stop + length].tolist(), *[0] * (width - length)])
        stop += length
    found = padded(values, np.array(lengths, np.int64), width)
    assert found.shape == (len(lengths), width)
    assert found.tolist() == rows
