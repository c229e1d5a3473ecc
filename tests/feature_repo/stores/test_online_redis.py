"""The packed store in Redis, on a server of its own, against the one in SQLite."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Int64
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.errors import DataError, MissingError, UnreachableError
from feature_repo.stores.bulk import BulkReader
from feature_repo.stores.online_redis import PackedRedisOnlineStore
from feature_repo.stores.packed import Blobs
from feature_repo.stores.packed_redis import BATCH_ROWS
from feature_repo.stores.packed_view import PackedView
from feature_repo.stores.redis_wire import packed_command, packed_commands

NOW = datetime(2026, 1, 31, tzinfo=UTC)
USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)


def view_of(name: str = "users") -> FeatureView:
    source = FileSource(name="source", path="none.parquet", timestamp_field="event_timestamp")
    fields = [Field(name="clicks", dtype=Int64)]
    view = FeatureView(name=name, entities=[USER], ttl=timedelta(0), schema=fields, source=source)
    view.entity_columns = [Field(name="user_id", dtype=Int64)]
    return view


def table(users: list[int] | np.ndarray, clicks: list[int] | np.ndarray, at: datetime = NOW) -> pa.Table:
    times = pa.array([at] * len(users), pa.timestamp("us", "UTC"))
    return pa.table({"user_id": pa.array(users), "clicks": pa.array(clicks), "event_timestamp": times})


def clicks(store: PackedRedisOnlineStore, config: Any, users: list[int], view: Any = None) -> list[int | None]:
    keys = [EntityKey(join_keys=["user_id"], entity_values=[Value(int64_val=user)]) for user in users]
    rows = store.online_read(config, view or view_of(), keys, ["clicks"])
    return [None if values is None else values["clicks"].int64_val for _, values in rows]


def names(store: PackedRedisOnlineStore, config: Any) -> set[bytes]:
    return set(store.records(config).client.keys("*"))


def test_every_record_is_the_sqlite_stores_byte_for_byte(
    packed_store: Any, redis_store: Any, packed_world: Any
) -> None:
    server = redis_store._get_provider().online_store.records(redis_store.config)
    file = packed_store._get_provider().online_store.database(packed_store.config)
    for name in ("users", "items", "pairs"):
        view = PackedView.of(packed_store.config, packed_store.get_feature_view(name))
        with file.snapshot() as snapshot:
            expected = snapshot.all_records(snapshot.catalogue.views[view.id], 1 << 30)
        found = server.read([(view, [*expected, None])])[0]
        assert found == [*expected.values(), None]
        assert len(expected) == packed_world.tables[name].num_rows


def test_requests_read_the_same_columns_from_both(packed_store: Any, redis_store: Any, packed_world: Any) -> None:
    rng = np.random.default_rng(3)
    items = packed_world.tables["items"]["item_id"].to_pylist()
    for users in (np.full(90, 2), rng.integers(0, 9, 90)):
        entities = {"user_id": users, "item_id": [*rng.choice(items, 89).tolist(), "unknown"]}
        ours, theirs = (BulkReader(store).features("plain", entities) for store in (redis_store, packed_store))
        assert ours.equals(theirs)
        assert ours.schema == theirs.schema
        columns = ["price", "seen", "age", "fresh"]
        left, right = (BulkReader(s).matrix("plain", entities, columns) for s in (redis_store, packed_store))
        np.testing.assert_array_equal(left, right)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_the_latest_row_of_each_key_stays(redis_url: str, data: st.DataObject) -> None:
    from redis import Redis

    from feature_repo.stores.packed import Field, Layout
    from feature_repo.stores.packed_keys import BYTES, INTEGER, KeyCodec
    from feature_repo.stores.packed_redis import RedisRecords
    from feature_repo.stores.packed_rows import Rows

    with Redis.from_url(f"{redis_url}/2") as client:
        client.flushdb()
    kind = data.draw(st.sampled_from([INTEGER, BYTES]))
    key = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)]) if kind == INTEGER else st.binary(max_size=2)
    times = st.integers(-3, 3) | st.sampled_from([2**62, -(2**62), 2**32 - 1, 2**32])
    server, latest = RedisRecords(f"{redis_url}/2"), {}
    layout = Layout([Field("n", pa.int64()), Field("text", pa.string())])
    view = PackedView("p", "v", KeyCodec((("k", kind),)), layout, 0, "event_timestamp", None, {}, None)
    rows = st.lists(st.tuples(key, st.integers(-9, 9), times, times), max_size=6)
    for batch in data.draw(st.lists(rows, max_size=4)):
        keys, values, event, created = zip(*batch, strict=True) if batch else ((), (), (), ())
        text = pa.array(["x" * (abs(value) % 5) for value in values], pa.string())
        columns = {"n": pa.array(values, pa.int64()), "text": text}
        records = layout.pack(columns, np.array(event, np.int64), np.array(created, np.int64))
        numbers = kind == INTEGER
        server.upsert(view, np.array(keys, np.int64) if numbers else Blobs.of(pa.array(keys, pa.binary())), records)
        for one, value, *moment in batch:
            if one not in latest or moment >= latest[one][0]:
                latest[one] = (moment, value)
    asked = [*latest, 77 if kind == INTEGER else b"absent"]
    (found,) = server.read([(view, asked)])
    opened = Rows(layout, [layout.blank if record is None else record for record in found])
    assert opened.array("n").to_pylist() == [latest[one][1] if one in latest else None for one in asked]
    server.client.close()


def test_a_table_of_several_batches(redis_config: Any) -> None:
    store, config, rows = PackedRedisOnlineStore(), redis_config(), 2 * BATCH_ROWS + 1
    users = np.random.default_rng(0).permutation(rows)
    assert store.write_table(config, view_of(), table(users, users * 2)) == rows
    assert clicks(store, config, [0, 7, rows - 1, rows]) == [0, 14, 2 * rows - 2, None]
    assert store.replace_view(config, view_of(), table(users + 1, users, NOW + timedelta(1))) == rows
    assert clicks(store, config, [0, 1, rows]) == [None, 0, rows - 1]


def test_readers_see_a_batch_or_a_swap_as_a_whole(redis_config: Any) -> None:
    config, users, stop = redis_config(), list(range(300)), threading.Event()
    writer, seen = PackedRedisOnlineStore(), []
    writer.write_table(config, view_of(), table(users, [0] * 300))

    def watch() -> None:
        store = PackedRedisOnlineStore()
        while not stop.is_set():
            seen.append(set(clicks(store, config, users)))

    watchers = [threading.Thread(target=watch) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    for step in range(1, 20):
        write = writer.replace_view if step % 2 else writer.write_table
        write(config, view_of(), table(users, [step] * 300, NOW + timedelta(seconds=step)))
    stop.set()
    for watcher in watchers:
        watcher.join()
    assert seen
    assert all(len(values) == 1 for values in seen)
    assert set(clicks(writer, config, users)) == {19}


def test_a_failed_or_refused_swap_leaves_nothing_behind(redis_config: Any) -> None:
    store, config = PackedRedisOnlineStore(), redis_config()
    store.write_table(config, view_of(), table([1], [1]))
    before = names(store, config)
    broken = table([2], [2], NOW + timedelta(1)).set_column(1, "clicks", pa.array(["many"]))
    with pytest.raises(DataError):
        store.replace_view(config, view_of(), broken)
    assert store.replace_view(config, view_of(), table([2], [2], NOW - timedelta(1))) == 0
    assert names(store, config) == before
    assert clicks(store, config, [1, 2]) == [1, None]
    assert store.replace_view(config, view_of(), table([2], [2], NOW + timedelta(1))) == 1
    client = store.records(config).client
    assert all(client.ttl(name) == -1 for name in names(store, config)), "what was swapped in must not expire"


def test_views_with_confusable_names_are_kept_apart(redis_config: Any) -> None:
    store, config = PackedRedisOnlineStore(), redis_config()
    views = [view_of(name) for name in ('a"', 'a\\"', "a}", "{a", "a:records")]
    for value, view in enumerate(views):
        store.write_table(config, view, table([1], [value]))
    assert [clicks(store, config, [1], view) for view in views] == [[value] for value in range(len(views))]


def test_teardown_and_deletion_leave_other_views(redis_config: Any) -> None:
    store, config = PackedRedisOnlineStore(), redis_config()
    views = [view_of(name) for name in ("one", "two", "three")]
    for view in views:
        store.write_table(config, view, table([1], [1]))
    store.update(config, views[:1], views[1:], [], [USER], True)
    assert [clicks(store, config, [1], view) for view in views] == [[None], [1], [1]]
    store.records(config).client.set("another", "1")
    store.teardown(config, views, [USER])
    assert names(store, config) == {b"another"}
    assert store.plan(config, None) == []


def test_asynchronous_requests_and_closing(redis_store: Any) -> None:
    features, entities = ["users:age", "pairs:seen"], {"user_id": [1, 2], "item_id": ["i0", ""]}
    expected = redis_store.get_online_features(features, entities).to_dict()
    answer = redis_store.get_online_features_async(features, entities)
    assert asyncio.run(answer).to_dict() == expected
    asyncio.run(redis_store._get_provider().online_store.close())
    assert redis_store.get_online_features(features, entities).to_dict() == expected


def test_a_missing_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from feature_repo.stores.packed_redis import RedisRecords

    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingError, match=r"Install rankhouse\[redis\]"):
        RedisRecords("redis://localhost")


def test_a_server_that_does_not_answer_is_named(redis_config: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        port = taken.getsockname()[1]
        store, config = PackedRedisOnlineStore(), redis_config(url=f"redis://:secret@127.0.0.1:{port}/0")
        for call in (
            lambda: clicks(store, config, [1]),
            lambda: store.write_table(config, view_of(), table([1], [1])),
            lambda: store.replace_view(config, view_of(), table([1], [1])),
            lambda: store.update(config, [], [view_of()], [], [USER], True),
        ):
            with pytest.raises(UnreachableError, match=f"an answer from 127.0.0.1:{port}") as raised:
                call()
            assert "secret" not in str(raised.value)


@given(st.binary(max_size=4), st.lists(st.binary(max_size=12), min_size=1, max_size=5))
def test_one_command_of_many_fields_is_packed_as_several_are(key: bytes, fields: list[bytes]) -> None:
    for drawn in (fields, fields[:1] * 3):
        assert packed_command(key, Blobs.of(pa.array(drawn, pa.binary()))) == packed_commands([(key, drawn)])
