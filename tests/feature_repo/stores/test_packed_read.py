"""Rows that are held opened in memory, against reading each key's record from the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.stores import packed_rows, packed_runs
from feature_repo.stores.packed import Blobs, Field, Layout
from feature_repo.stores.packed_db import PackedDatabase, _behind
from feature_repo.stores.packed_keys import BYTES, INTEGER, STRING, Asked, KeyCodec
from feature_repo.stores.packed_read import OpenedRows, RecordCache, held_view, read_view
from feature_repo.stores.packed_rows import Rows
from feature_repo.stores.packed_view import PackedView

LAYOUT = Layout([Field("n", pa.int64()), Field("text", pa.string()), Field("vector", pa.list_(pa.float32()))])
HEADS = {INTEGER: [0, -1, 2**63 - 1, -(2**63)], STRING: ["", "é\0", "b"], BYTES: [b"\xff\xff", b"", b"\xff"]}
RESTS = {
    INTEGER: [*range(-40, 40), 2**63 - 1, -(2**63)],
    STRING: [f"item {i}" * (i % 3) for i in range(80)],
    BYTES: [bytes([i, 255]) * (i % 3) for i in range(80)],
}
ARROW = {INTEGER: pa.int64(), STRING: pa.string(), BYTES: pa.binary()}


def view_of(codec: KeyCodec, ttl: int = 0) -> PackedView:
    return PackedView("p", "v", codec, LAYOUT, ttl, "event_timestamp", None, {}, None)


def write(database: PackedDatabase, codec: KeyCodec, columns: list[pa.Array], first: int = 0) -> None:
    values = np.arange(first, first + len(columns[0]))
    features = {
        "n": pa.array(values, mask=values % 5 == 0),
        "text": pa.array([f"value {value}" * (value % 3) for value in values.tolist()]),
        "vector": pa.array([[value, value / 2] * (value % 4) for value in values.tolist()], pa.list_(pa.float32())),
    }
    with database.transaction() as writer:
        view = writer.declare("p", "v", codec, LAYOUT)
        writer.upsert(view, codec.encode(columns), LAYOUT.pack(features, values, None))


def read(database: PackedDatabase, cache: RecordCache, view: PackedView, asked: Asked) -> dict[str, list]:
    with database.snapshot() as snapshot:
        rows = read_view(snapshot, cache, view, asked, 0)
    arrays = {name: rows.array(name) for name in LAYOUT.by_name}
    for array in arrays.values():
        array.validate(full=True)
    event = rows.spread(rows.rows.event).tolist()
    return {**{name: array.to_pylist() for name, array in arrays.items()}, "event": event}


def held(database: PackedDatabase, cache: RecordCache, view: PackedView, asked: Asked) -> bool:
    catalogue = database.unchanged()
    return catalogue is not None and held_view(catalogue, cache, view, asked) is not None


@pytest.mark.parametrize("first", [INTEGER, STRING, BYTES])
@pytest.mark.parametrize("last", [INTEGER, STRING, BYTES])
def test_a_users_rows_are_opened_once_and_read_alike(tmp_path: Path, first: str, last: str) -> None:
    codec, rng = KeyCodec((("user", first), ("item", last))), np.random.default_rng(0)
    pairs = [(head, rest) for head in HEADS[first] for rest in dict.fromkeys(RESTS[last]) if rng.random() < 0.7]
    database, cache, nothing = PackedDatabase(tmp_path / "online.db"), RecordCache(1 << 20), RecordCache(0)
    write(database, codec, [pa.array([p[i] for p in pairs], ARROW[kind]) for i, kind in enumerate((first, last))])
    view = view_of(codec)
    for head in [*HEADS[first], HEADS[first][0]]:
        items = [None, *rng.permutation(np.array([*RESTS[last], *RESTS[last][:7]], object)).tolist()]
        columns = [pa.array([head] * len(items), ARROW[first]), pa.array(items, ARROW[last])]
        expected = read(database, nothing, view, Asked.of(codec.to_list(columns)))
        assert any(value is not None for value in expected["n"])
        for _ in range(2):
            assert read(database, cache, view, codec.asked(columns)) == expected
        assert held(database, cache, view, codec.asked(columns))
        write(database, codec, [column.slice(3, 1) for column in columns], first=1_000)
        assert not held(database, cache, view, codec.asked(columns))
        assert read(database, cache, view, codec.asked(columns))["n"][3] is None
        assert read(database, cache, view, codec.asked(columns))["event"][3] == 1_000


def test_a_user_with_far_more_rows_than_are_asked_for_is_read_row_by_row(tmp_path: Path) -> None:
    codec, items = KeyCodec((("user", INTEGER), ("item", INTEGER))), np.arange(70)
    database, cache = PackedDatabase(tmp_path / "online.db"), RecordCache(1 << 20)
    write(database, codec, [pa.array(np.full(1_000, 7)), pa.array(np.arange(1_000))])
    view = view_of(codec)
    for many in (False, True, False):
        columns = [pa.array(np.full(70 * (1 + 4 * many), 7)), pa.array(np.tile(items, 1 + 4 * many))]
        asked = codec.asked(columns)
        expected = read(database, RecordCache(0), view, Asked.of(codec.to_list(columns)))
        assert read(database, cache, view, asked) == expected
        assert held(database, cache, view, asked) == many or cache._users


def test_one_key_for_every_row_is_opened_once(tmp_path: Path) -> None:
    codec = KeyCodec((("user", INTEGER),))
    database, cache = PackedDatabase(tmp_path / "online.db"), RecordCache(1 << 20)
    write(database, codec, [pa.array([1, 2, 3])])
    for key, times in ((3, 5), (9, 2)):
        asked = codec.asked([pa.array([key] * times)])
        for _ in range(2):
            found = read(database, cache, view_of(codec), asked)
            assert found["n"] == [2 if key == 3 else None] * times
        assert held(database, cache, view_of(codec), asked)
        assert not held(database, cache, view_of(codec, ttl=1), asked)


def test_a_full_cache_starts_again(tmp_path: Path) -> None:
    codec = KeyCodec((("user", INTEGER), ("item", INTEGER)))
    database, cache = PackedDatabase(tmp_path / "online.db"), RecordCache(100_000)
    users = np.repeat(np.arange(40), 100)
    write(database, codec, [pa.array(users), pa.array(np.tile(np.arange(100), 40))])
    for user in [*range(40), 0]:
        columns = [pa.array(np.full(100, user)), pa.array(np.arange(100))]
        expected = read(database, RecordCache(0), view_of(codec), Asked.of(codec.to_list(columns)))
        assert read(database, cache, view_of(codec), codec.asked(columns)) == expected
        assert cache._bytes <= 100_000


@pytest.mark.parametrize("spread", [1, 1_000_003])
@pytest.mark.parametrize("start", [-(2**63), -5, 2**63 - 1 - 30 * 1_000_003])
def test_integer_keys_are_found_wherever_they_lie(spread: int, start: int) -> None:
    keys = np.array([start + i * spread for i in range(30) if i % 3], np.int64)
    opened = OpenedRows(Rows(LAYOUT, [LAYOUT.blank] * (len(keys) + 1)), keys)
    asked = np.array([*keys[::-1], start, -(2**63), 2**63 - 1, 0, keys[4]], np.int64)
    place = {key: i for i, key in enumerate(keys.tolist())}
    expected = [place.get(key, len(keys)) for key in asked.tolist()]
    assert opened.index(KeyCodec((("k", INTEGER),)).asked([pa.array(asked)])).tolist() == expected


def test_what_comes_behind_a_beginning() -> None:
    assert _behind(b"a\xff\xff") == b"b"
    assert _behind(b"ab") == b"ac"
    assert _behind(b"\xff\xff") is None


@pytest.mark.parametrize("by_hand", [0, 4])
def test_rows_of_an_index_are_taken_of_every_type(monkeypatch: pytest.MonkeyPatch, by_hand: int) -> None:
    monkeypatch.setattr(packed_rows, "_BY_HAND", by_hand)
    kinds: list[Any] = [
        pa.int64(),
        pa.float32(),
        pa.bool_(),
        pa.string(),
        pa.list_(pa.string()),
        pa.list_(pa.float64()),
    ]
    layout, rng = Layout([Field(f"f{i}", kind) for i, kind in enumerate(kinds)]), np.random.default_rng(1)
    singles: list[Any] = [7, 0.5, True, "x", ["a", None, ""], [1.0, None]]
    for lengths in ([2, 2, 2], [0, 2, 0], [1, 2, 3], [0, 0, 0]):
        columns = {}
        for i, (kind, one) in enumerate(zip(kinds, singles, strict=True)):
            values = [(one * n)[:n] if isinstance(one, list) else one for n in lengths]
            columns[f"f{i}"] = pa.array([*values, None], kind)
        records = layout.pack(columns, np.zeros(4, np.int64), None).to_list()
        for start, count in ((0, 4), (0, 3), (0, 1), (3, 1)):
            opened = Rows(layout, records[start : start + count])
            index = rng.integers(0, count, 9)
            for name, values in columns.items():
                assert opened.array(name).to_pylist() == values.slice(start, count).to_pylist()
                taken = opened.arrays_like(name, index)[name]
                taken.validate(full=True)
                assert taken.to_pylist() == opened.array(name).take(pa.array(index)).to_pylist()
            names = ("f0", "f1", "f2")
            np.testing.assert_array_equal(
                opened.floats(names, np.float64, index), opened.floats(names, np.float64)[index]
            )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("names", [("flag", "n", "x"), ("flag", "c", "x")])
def test_a_batch_is_written_into_a_matrix_as_a_request_is(
    monkeypatch: pytest.MonkeyPatch, dtype: type[np.floating], names: tuple[str, ...]
) -> None:
    monkeypatch.setattr(packed_rows, "_FEW", 2)
    layout = Layout([*NUMBERS.fields, Field("c", pa.int32()), Field("s", pa.string())])
    numbers = np.arange(300)
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], np.float32)
    columns = {
        "n": pa.array(numbers * (2**53 + 1), mask=numbers % 4 == 0),
        "x": pa.array(np.where(numbers % 3 == 0, odd[numbers % 5], numbers / 3), pa.float32(), mask=numbers % 7 == 0),
        "flag": pa.array(numbers % 2 == 0, mask=numbers == 0),
        "c": pa.array((numbers - 99) * (2**24 // 3 + 1), pa.int32(), mask=numbers % 5 == 4),
        "s": pa.array(["é" * (number % 9) for number in numbers]),
    }
    records = layout.pack(columns, np.zeros(len(numbers), np.int64), None).to_list()
    index = np.random.default_rng(2).integers(0, len(numbers), 700)
    expected = Rows(layout, records).floats(names, dtype)
    assert np.isnan(expected).any(axis=0).all()
    for rows in (index, index[:300], index[:3], index[:1], None):
        for order in "CF":
            result = np.zeros((len(numbers) if rows is None else len(rows), 5), dtype, order)
            Rows(layout, records).fill(result, [4, 0, 2], names, rows)
            wanted = expected if rows is None else expected[rows]
            np.testing.assert_array_equal(bits_of(result[:, [4, 0, 2]]), bits_of(wanted))
            assert not result[:, [1, 3]].any()


def bits_of(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(f"u{values.itemsize}")


def test_keys_are_cut_behind_their_beginning() -> None:
    for kind, parts in RESTS.items():
        codec = KeyCodec((("a", STRING), ("b", kind)))
        keys = codec.to_list([pa.array(["é"] * len(parts)), pa.array(parts, ARROW[kind])])
        head = codec.asked([pa.array(["é"] * len(parts)), pa.array(parts, ARROW[kind])]).head
        found = codec.last_parts(keys, head)
        encoded = KeyCodec((("b", kind),)).encode([pa.array(parts, ARROW[kind])])
        expected = encoded.to_list() if isinstance(encoded, Blobs) else encoded.tolist()
        assert (found.tolist() if isinstance(found, np.ndarray) else found) == expected


NUMBERS = Layout([Field("n", pa.int64()), Field("x", pa.float32()), Field("flag", pa.bool_())])


def numbers_of(database: PackedDatabase, cache: RecordCache, view: PackedView, asked: Asked, now: int = 0) -> dict:
    with database.snapshot() as snapshot:
        rows = read_view(snapshot, cache, view, asked, now)
    found = {name: rows.array(name).to_pylist() for name in view.layout.by_name}
    return {**found, "event": rows.spread(rows.rows.event).tolist()}


def write_numbers(database: PackedDatabase, codec: KeyCodec, columns: list[pa.Array], layout: Layout = NUMBERS) -> None:
    values = np.arange(len(columns[0]))
    features = {
        "n": pa.array(values, mask=values % 5 == 0),
        "x": pa.array(values / 4, pa.float32()),
        "flag": pa.array(values % 2 == 0),
    }
    with database.transaction() as writer:
        view = writer.declare("p", "v", codec, layout)
        writer.upsert(view, codec.encode(columns), layout.pack(features, values, None))


@pytest.mark.parametrize("first", [INTEGER, STRING, BYTES])
@pytest.mark.parametrize("last", [INTEGER, STRING, BYTES])
def test_several_users_rows_are_read_user_by_user(tmp_path: Path, first: str, last: str) -> None:
    codec, rng = KeyCodec((("user", first), ("item", last))), np.random.default_rng(0)
    heads, rests = HEADS[first], list(dict.fromkeys(RESTS[last]))
    pairs = [(head, rest) for head in heads[1:] for rest in rests if rng.random() < 0.6]
    database = PackedDatabase(tmp_path / "online.db")
    write_numbers(
        database, codec, [pa.array([p[i] for p in pairs], ARROW[kind]) for i, kind in enumerate((first, last))]
    )
    users = [*heads, heads[-2]]
    items = [
        [None, *rng.permutation(np.array([*rests, *rests[:7]], object))[: 25 + user].tolist()]
        for user in range(len(users))
    ]
    columns = [
        pa.array([user for user, own in zip(users, items, strict=True) for _ in own], ARROW[first]),
        pa.array([item for own in items for item in own], ARROW[last]),
    ]
    asked, each = codec.asked(columns), Asked.of(codec.to_list(columns))
    assert [len(run.last) for run in asked.runs] == [len(own) for own in items]
    for ttl, now in ((0, 0), (50, 90)):
        view = replace(view_of(codec, ttl), layout=NUMBERS)
        expected = numbers_of(database, RecordCache(0), view, each, now)
        assert 0 < expected["x"].count(None) < len(expected["x"])
        cache = RecordCache(1 << 20)
        assert numbers_of(database, cache, view, asked, now) == expected
        assert not cache._views


def test_integers_are_found_whether_or_not_they_need_all_their_bits(tmp_path: Path) -> None:
    codec, ends = KeyCodec((("user", INTEGER), ("item", INTEGER))), [-(1 << 63), -1, 0, (1 << 63) - 1]
    database, view = PackedDatabase(tmp_path / "online.db"), replace(view_of(codec), layout=NUMBERS)
    near = list(range(-30, 30))
    for items in (near, [*ends, *near[1:29]]):
        pairs = [pa.array(np.repeat(ends, len(items)), pa.int64()), pa.array(items * len(ends), pa.int64())]
        write_numbers(database, codec, [column.slice(7, 90) for column in pairs])
        cache, each = RecordCache(1 << 20), Asked.of(codec.to_list(pairs))
        assert len(codec.asked(pairs).runs) == len(ends)
        found = numbers_of(database, cache, view, codec.asked(pairs))
        assert found == numbers_of(database, RecordCache(0), view, each)
        assert not cache._views


def test_rows_of_several_users_that_are_no_match_for_one_reading_are_read_by_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_runs, "_LEAST", 1_000)
    codec = KeyCodec((("user", INTEGER), ("item", INTEGER)))
    columns = [pa.array(np.repeat([1, 2], 40)), pa.array(np.tile(np.arange(40), 2))]
    # Longer records of an earlier schema, then far more rows than are asked for, then a null among the users.
    earlier = Layout([Field("n", pa.int64()), Field("x", pa.float32()), Field("gone", pa.int64())])
    database, view = PackedDatabase(tmp_path / "online.db"), replace(view_of(codec), layout=NUMBERS)
    write_numbers(database, codec, [column.slice(0, 60) for column in columns], earlier)
    write_numbers(database, codec, [column.slice(20, 50) for column in columns])
    cases = [columns]
    write_numbers(database, codec, [pa.array(np.full(900, 5)), pa.array(np.arange(900))])
    cases.append([pa.array(np.repeat([5, 1], 40)), columns[1]])
    cases.append([pa.array([None, *[1] * 40, *[2] * 39]), columns[1]])
    for case in cases:
        each = Asked.of(codec.to_list(case))
        cache = RecordCache(1 << 20)
        assert numbers_of(database, cache, view, codec.asked(case)) == numbers_of(database, RecordCache(0), view, each)
        assert cache._views
