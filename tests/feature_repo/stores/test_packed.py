"""The packed record against plain Python values."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.errors import DataError
from feature_repo.stores.packed import TIMESTAMP, Blobs, Field, Layout, conform, stored_time
from feature_repo.stores.packed_rows import Rows, adopt

NEVER = np.iinfo(np.int64).min
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))
SCALARS: dict[pa.DataType, st.SearchStrategy] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.float64(): st.floats(),
    pa.float32(): st.floats(width=32),
    pa.bool_(): st.booleans(),
    TIMESTAMP: MOMENTS,
    pa.string(): st.text(max_size=6),
    pa.binary(): st.binary(max_size=6),
}


def values_of(kind: pa.DataType) -> st.SearchStrategy:
    if pa.types.is_list(kind):
        return st.none() | st.lists(st.none() | SCALARS[kind.value_type], max_size=4)
    return st.none() | SCALARS[kind]


KINDS = [*SCALARS, *(pa.list_(kind) for kind in SCALARS)]


@st.composite
def tables(draw: Any) -> tuple[Layout, dict[str, list], int]:
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=9))
    fields = [Field(f"feature {i}", kind) for i, kind in enumerate(kinds)]
    rows = draw(st.integers(0, 5))
    columns = {f.name: draw(st.lists(values_of(f.type), min_size=rows, max_size=rows)) for f in fields}
    return Layout(fields), columns, rows


def same(left: Any, right: Any) -> bool:
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return (math.isnan(left) and math.isnan(right)) or (left, math.copysign(1, left)) == (
            right,
            math.copysign(1, right),
        )
    return left == right


def pack(layout: Layout, columns: dict[str, list], rows: int) -> list[bytes]:
    arrays = {field.name: pa.array(columns[field.name], field.type) for field in layout.fields}
    return layout.pack(arrays, np.arange(rows, dtype=np.int64) - 2, None).to_list()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(tables(), st.randoms(use_true_random=False))
def test_every_value_comes_back(table: tuple[Layout, dict[str, list], int], random: Any) -> None:
    layout, columns, rows = table
    records = pack(layout, columns, rows)
    order = list(range(rows)) * 2
    random.shuffle(order)
    opened = Rows(layout, [records[i] for i in order])
    assert opened.event.tolist() == [i - 2 for i in order]
    for field in layout.fields:
        array = opened.array(field.name)
        array.validate(full=True)
        assert array.type == field.type
        assert same(array.to_pylist(), [columns[field.name][i] for i in order])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(tables(), st.data())
def test_another_schema_keeps_what_has_the_same_name_and_type(
    table: tuple[Layout, dict[str, list], int], data: st.DataObject
) -> None:
    old, columns, rows = table
    fields = data.draw(st.permutations([*old.fields, Field("new", pa.float64())]))
    retyped = data.draw(st.sampled_from(old.fields))
    other = pa.string() if retyped.type != pa.string() else pa.int32()
    new = Layout([Field(f.name, other) if f == retyped else f for f in fields])
    records = pack(old, columns, rows)
    opened = Rows(new, adopt(new, records, Layout.from_text(old.text)))
    assert opened.event.tolist() == Rows(old, records).event.tolist()
    for field in new.fields:
        lost = field.name in ("new", retyped.name)
        assert same(opened.array(field.name).to_pylist(), [None] * rows if lost else columns[field.name])


def test_the_blank_record_is_null_in_every_feature() -> None:
    layout = Layout([Field(str(i), kind) for i, kind in enumerate(KINDS)])
    opened = Rows(layout, [layout.blank, layout.blank])
    assert opened.event.tolist() == [NEVER, NEVER]
    assert all(opened.array(field.name).null_count == 2 for field in layout.fields)


def test_layouts_differ_with_names_types_and_order() -> None:
    one, two = Field("a", pa.int64()), Field("b", pa.list_(pa.float32()))
    layouts = [
        [one, two],
        [two, one],
        [one],
        [Field("a", pa.int32()), two],
        [Field("a", pa.binary(), opaque=True), two],
    ]
    assert len({Layout(fields).id for fields in layouts}) == len(layouts)
    assert Layout([one, two]).id == Layout.from_text(Layout([one, two]).text).id


def test_records_compare_like_their_times() -> None:
    layout = Layout([Field("a", pa.int64())])
    times = [(-5, None), (-5, -7), (-5, 0), (0, None), (0, -1), (3, NEVER + 1), (3, 9)]
    event = np.array([e for e, _ in times], np.int64)
    created = np.array([NEVER if c is None else c for _, c in times], np.int64)
    records = layout.pack({}, event, created).to_list()
    assert [record[:16] for record in records] == sorted(record[:16] for record in records)
    assert len({record[:16] for record in records}) == len(records)
    assert [record[:8] for record in records] == [stored_time(e) for e, _ in times]


def test_blanked_rows_are_null() -> None:
    layout = Layout([Field("a", pa.int64()), Field("b", pa.list_(pa.string()))])
    records = layout.pack({"a": pa.array([1, 2]), "b": pa.array([["x"], []])}, np.zeros(2, np.int64), None).to_list()
    opened = Rows(layout, records)
    opened.blank(np.array([False, True]))
    assert opened.array("a").to_pylist() == [1, None]
    assert opened.array("b").to_pylist() == [["x"], None]


def test_number_blocks() -> None:
    fields = [Field("a", pa.float64()), Field("b", pa.float32()), Field("c", pa.float64()), Field("d", pa.float64())]
    layout = Layout([*fields, Field("s", pa.string()), Field("f", pa.bool_())])
    columns = {f.name: pa.array([i + 0.5, i + 1.5], f.type) for i, f in enumerate(fields)}
    opened = Rows(layout, layout.pack(columns, np.zeros(2, np.int64), None).to_list())
    np.testing.assert_array_equal(opened.number_block(("d", "a")), [[3.5, 0.5], [4.5, 1.5]])
    np.testing.assert_array_equal(opened.number_block(("b",)), [[1.5], [2.5]])
    assert opened.number_block(("f",)).dtype == np.uint8


def test_sliced_and_chunked_columns() -> None:
    array = pa.array([["a"], None, [], ["b", None, "c"], ["d"]])
    layout = Layout([Field("s", array.type)])
    for start, stop in ((1, 4), (3, 5), (2, 2)):
        part = array.slice(start, stop - start)
        records = layout.pack({"s": part}, np.zeros(len(part), np.int64), None).to_list()
        assert Rows(layout, records).array("s").to_pylist() == part.to_pylist()
    assert Blobs.of(pa.array(["x", "", "yz"]).slice(1)).to_list() == [b"", b"yz"]


def test_conform_casts_what_fits_and_names_what_does_not() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    nanoseconds = pa.array([moment], pa.timestamp("ns", "UTC"))
    assert conform(nanoseconds, TIMESTAMP, "here").to_pylist() == [moment]
    berlin = pa.array([moment], pa.timestamp("us", "Europe/Berlin"))
    assert conform(berlin, TIMESTAMP, "here").to_pylist() == [moment]
    naive = pa.array([moment.replace(tzinfo=None) + timedelta(microseconds=1)], pa.timestamp("us"))
    assert conform(naive, TIMESTAMP, "here").to_pylist() == [moment + timedelta(microseconds=1)]
    vectors = pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2))
    assert conform(vectors, pa.list_(pa.float32()), "here").type == pa.list_(pa.float32())
    with pytest.raises(DataError, match="feature x: expected values that fit int32, got int64"):
        conform(pa.array([2**40]), pa.int32(), "feature x")
