"""Join keys as codes against plain equality, and features gathered by position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.errors import ContractError
from feature_repo.stores import keys, retrieval
from feature_repo.stores.keys import KeyCodes

FAR = [0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)]
COLUMNS = {
    "near": (pa.int64(), st.none() | st.integers(-3, 3)),
    "far": (pa.int64(), st.none() | st.sampled_from(FAR)),
    "small": (pa.int16(), st.none() | st.integers(-3, 3)),
    "text": (pa.string(), st.none() | st.sampled_from(["", "1", "01", "1|", "|1", "\x00", "é", "e\u0301"])),
    "bytes": (pa.binary(), st.none() | st.sampled_from([b"", b"\x00", b"\x00\x00"])),
    "flag": (pa.bool_(), st.none() | st.booleans()),
}


@st.composite
def sides(draw: st.DrawFn) -> tuple[list[str], list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    kinds = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=3))
    row = st.tuples(*(COLUMNS[kind][1] for kind in kinds))
    return kinds, draw(st.lists(row, max_size=12)), draw(st.lists(row, max_size=12))


def columns(kinds: list[str], rows: list[tuple[Any, ...]]) -> list[pa.Array]:
    return [pa.array([row[i] for row in rows], COLUMNS[kind][0]) for i, kind in enumerate(kinds)]


@settings(max_examples=100, derandomize=True, deadline=None)
@given(sides(), st.booleans())
def test_codes_are_equality(world: tuple[list[str], list[Any], list[Any]], by_address: bool) -> None:
    kinds, ours, theirs = world
    types = [COLUMNS[kind][0] for kind in kinds]
    span = keys.TABLE_SPAN
    keys.TABLE_SPAN = span if by_address else -1
    try:
        codes = KeyCodes(columns(kinds, ours), types, "test")
        other = codes.encode(columns(kinds, theirs))
    finally:
        keys.TABLE_SPAN = span
    for mine, code in zip(ours, codes.codes, strict=True):
        assert (code < 0) == (None in mine)
        for their, found in zip(theirs, other, strict=True):
            assert (code >= 0 and found == code) == (None not in mine and mine == their)
    assert len(codes) == len({row for row in ours if None not in row})


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (pa.array([1.0, 2.5, None, float("nan")]), pa.array([1, 2], pa.int32()), [0, -1]),
        (pa.array([2**53 + 1]), pa.array([2.0**53]), [-1]),
        (pa.array([2**63], pa.uint64()), pa.array([-(2**63)], pa.int64()), [-1]),
        (pa.array(["a", "b"]).dictionary_encode(), pa.array(["b"], pa.large_string()), [1]),
        (pa.nulls(2), pa.array([1]), [-1]),
    ],
    ids=["float and int", "past 2**53", "past 2**63", "category", "all null"],
)
def test_types_that_differ_compare_by_value(ours: pa.Array, theirs: pa.Array, expected: list[int]) -> None:
    assert KeyCodes([ours], [theirs.type], "test").encode([theirs]).tolist() == expected


def test_a_text_is_no_number() -> None:
    with pytest.raises(ContractError, match="the feature data has int64"):
        KeyCodes([pa.array(["1"])], [pa.int64()], "entity frame")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("large", [0, 1 << 30], ids=["64-bit offsets", "32-bit offsets"])
@pytest.mark.parametrize(
    ("data_type", "values"),
    [
        (pa.int64(), [1, None, 3]),
        (pa.string(), ["a", None, "ccc"]),
        (pa.list_(pa.string()), [["a", None], [], None]),
        (pa.list_(pa.float32()), [[0.5], None, [1.5, 2.5]]),
        (pa.list_(pa.list_(pa.string())), [[["a"]], [[], None], None]),
    ],
    ids=str,
)
def test_gathering_keeps_types_nulls_and_order(
    data_type: pa.DataType, values: list[Any], large: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "CHUNK_ROWS", 2)
    monkeypatch.setattr(retrieval, "_LARGE_BYTES", large)
    column = pa.chunked_array([pa.array(values[:1], data_type), pa.array(values[1:], data_type)])
    positions = np.array([2, -1, 0, 0, 1], dtype=np.int32)
    gathered = retrieval.gather(column, positions, threads)
    assert gathered.type == data_type
    assert gathered.to_pylist() == [values[2], None, values[0], values[0], values[1]]
