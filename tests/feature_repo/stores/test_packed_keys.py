from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.errors import DataError
from feature_repo.stores.packed_keys import BYTES, INTEGER, STRING, KeyCodec

INTEGERS = st.integers(-(2**63), 2**63 - 1)
PARTS = {INTEGER: INTEGERS, STRING: st.text(max_size=5), BYTES: st.binary(max_size=5)}
TYPES = {INTEGER: pa.int64(), STRING: pa.string(), BYTES: pa.binary()}


@st.composite
def keyed(draw: Any) -> tuple[KeyCodec, list[tuple]]:
    kinds = draw(st.lists(st.sampled_from([INTEGER, STRING, BYTES]), min_size=1, max_size=3))
    rows = draw(st.lists(st.tuples(*(PARTS[kind] for kind in kinds)), max_size=12))
    return KeyCodec(tuple((f"k{i}", kind) for i, kind in enumerate(kinds))), rows


def columns(codec: KeyCodec, rows: list[tuple]) -> list[pa.Array]:
    return [pa.array([row[i] for row in rows], TYPES[kind]) for i, (_, kind) in enumerate(codec.parts)]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(keyed())
def test_keys_are_equal_exactly_where_their_parts_are(case: tuple[KeyCodec, list[tuple]]) -> None:
    codec, rows = case
    keys = codec.to_list(columns(codec, rows))
    assert len(keys) == len(rows)
    for i, left in enumerate(rows):
        for j, right in enumerate(rows):
            assert (keys[i] == keys[j]) == (left == right)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(keyed())
def test_feasts_entity_keys_are_encoded_alike(case: tuple[KeyCodec, list[tuple]]) -> None:
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    codec, rows = case
    names = {INTEGER: "int64_val", STRING: "string_val", BYTES: "bytes_val"}
    protos = [
        EntityKey(
            join_keys=[name for name, _ in reversed(codec.parts)],
            entity_values=[
                Value(**{names[kind]: part}) for part, (_, kind) in reversed(list(zip(row, codec.parts, strict=True)))
            ],
        )
        for row in rows
    ]
    assert codec.from_protos(protos, 3) == codec.to_list(columns(codec, rows))


def test_integer_pairs_sort_by_their_first_part() -> None:
    codec = KeyCodec((("user", INTEGER), ("item", INTEGER)))
    pairs = [(-(2**63), 5), (-1, 2**63 - 1), (0, -7), (0, 3), (2, -(2**63))]
    keys = codec.to_list(columns(codec, pairs))
    assert keys == sorted(keys)


def test_a_null_part_means_no_key() -> None:
    codec = KeyCodec((("user", INTEGER), ("item", STRING)))
    arrays = [pa.array([1, None, 1, None]), pa.array(["a", "a", None, None])]
    keys = codec.to_list(arrays)
    assert keys[1:] == [None, None, None]
    assert keys[0] == codec.to_list([pa.array([1]), pa.array(["a"])])[0]


def test_columns_are_brought_to_the_stored_type() -> None:
    codec = KeyCodec((("user", INTEGER),))
    small = codec.arrays({"user": pa.array([1, 2], pa.int16())}, "view x")
    assert codec.to_list(small) == [1, 2]
    seconds = codec.arrays({"user": pa.array([1_500_000], pa.timestamp("us", "UTC"))}, "view x")
    assert codec.to_list(seconds) == [1]
    assert codec.to_list(codec.arrays({"user": pa.nulls(2)}, "view x")) == [None, None]
    with pytest.raises(DataError, match="view x, entity user: expected values that fit int64"):
        codec.arrays({"user": pa.array(["one"])}, "view x")


def test_codecs_come_back_from_text() -> None:
    codec = KeyCodec((("user id", INTEGER), ("item", STRING)))
    assert KeyCodec.from_text(codec.text) == codec
    assert isinstance(codec.encode([pa.array([1]), pa.array(["x"])]).offsets, np.ndarray)
