from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.infra.online_stores.helpers import get_online_store_from_config
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Float32, Float64, Int64, Json, String

from feature_repo.errors import ContractError, DataError
from feature_repo.stores.online import PackedSqliteOnlineStore
from feature_repo.stores.packed_store import PackedOnlineStore
from feature_repo.stores.packed_view import PackedView

DAY = timedelta(days=1)
NOW = datetime(2026, 1, 31, tzinfo=UTC)
USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def view_of(called: str = "users", /, ttl: timedelta = timedelta(0), **schema: Any) -> FeatureView:
    fields = [Field(name=n, dtype=d) for n, d in (schema or {"clicks": Int64, "name": String}).items()]
    source = FileSource(
        name="source",
        path="none.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    view = FeatureView(name=called, entities=[USER], ttl=ttl, schema=fields, source=source)
    view.entity_columns = [Field(name="user_id", dtype=Int64)]
    return view


def opened(config: Any) -> PackedOnlineStore:
    """A store as Feast opens it."""
    return get_online_store_from_config(config.online_store)


def key(user: int) -> EntityKey:
    return EntityKey(join_keys=["user_id"], entity_values=[Value(int64_val=user)])


def row(user: int, clicks: int | None, at: datetime = NOW, created: datetime | None = None) -> tuple:
    value = Value() if clicks is None else Value(int64_val=clicks)
    return key(user), {"clicks": value, "name": Value(string_val=f"user {user}")}, at, created


def table(users: list[int | None], clicks: list[int | None], at: datetime = NOW) -> pa.Table:
    times = pa.array([at] * len(users), pa.timestamp("us", "UTC"))
    return pa.table(
        {
            "user_id": pa.array(users, pa.int64()),
            "clicks": pa.array(clicks, pa.int64()),
            "name": pa.array([f"user {user}" for user in users]),
            "event_timestamp": times,
            "created_timestamp": times,
        }
    )


def clicks(store: PackedOnlineStore, config: Any, view: FeatureView, users: list[int]) -> list[int | None]:
    rows = store.online_read(config, view, [key(user) for user in users], ["clicks"])
    return [None if v is None or not v["clicks"].WhichOneof("val") else v["clicks"].int64_val for _, v in rows]


def test_reads_what_was_written(any_config: Any) -> None:
    config, view, seen = any_config(), view_of(), []
    store = opened(config)
    store.online_write_batch(config, view, [row(1, 2**53 + 1), row(-5, None)], seen.append)
    (t1, one), (t2, two), (t3, three) = store.online_read(config, view, [key(1), key(-5), key(9)])
    assert sum(seen) == 2
    assert (t1, t2, t3) == (NOW, NOW, None)
    assert one["clicks"].int64_val == 2**53 + 1
    assert one["name"].string_val == "user 1"
    assert two["clicks"].WhichOneof("val") is None
    assert three is None


@pytest.mark.parametrize("megabytes", [256, 0])
def test_a_view_held_in_memory_reads_alike_and_follows_every_write(packed_config: Any, megabytes: int) -> None:
    config, store, writer, view = (
        packed_config(cache_mb=megabytes),
        *(PackedSqliteOnlineStore() for _ in "12"),
        view_of(),
    )
    writer.write_table(config, view, table([3, 1, 2], [30, 10, None]))
    users = [1, 9, 3, 1, 2]
    packed = [PackedView.of(config, view)]
    store.keep(config, [*packed, PackedView.of(config, view_of("unwritten")), PackedView.of(config, view_of(ttl=DAY))])
    assert clicks(store, config, view, users) == [10, None, 30, 10, None]
    writer.write_table(config, view, table([9, 1], [90, 11]))
    assert clicks(store, config, view, users) == [11, 90, 30, 11, None]
    for _ in range(2):
        store.keep(config, packed)
        assert clicks(store, config, view, users) == [11, 90, 30, 11, None]
    held = store._cache.whole(*_place(store, config, packed[0]))
    assert (held is not None) == (megabytes > 0)
    wider = view_of(clicks=Int64, name=String, more=Float64)
    store.keep(config, [PackedView.of(config, wider)])
    assert clicks(store, config, wider, users) == [11, 90, 30, 11, None]


def _place(store: PackedOnlineStore, config: Any, view: PackedView) -> tuple:
    with store.database(config).snapshot() as snapshot:
        return snapshot.catalogue.views[view.id], view.layout


def test_async_calls_do_the_same(any_config: Any) -> None:
    config, view = any_config(), view_of()
    store = opened(config)

    async def both() -> list:
        await store.online_write_batch_async(config, view, [row(1, 5)], None)
        return await store.online_read_async(config, view, [key(1)], ["clicks"])

    ((_, values),) = asyncio.run(both())
    assert {name: value.int64_val for name, value in values.items()} == {"clicks": 5}
    assert store.async_supported.read
    assert store.async_supported.write


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((NOW, NOW), (NOW - timedelta(microseconds=1), NOW), 1),
        ((NOW, NOW), (NOW + timedelta(microseconds=1), NOW), 2),
        ((NOW, NOW), (NOW, NOW - timedelta(microseconds=1)), 1),
        ((NOW, NOW), (NOW, NOW + timedelta(microseconds=1)), 2),
        ((NOW, NOW), (NOW, None), 1),
        ((NOW, None), (NOW, NOW), 2),
        ((NOW, NOW), (NOW, NOW), 2),
        ((datetime(1969, 1, 1, tzinfo=UTC), NOW), (datetime(1970, 1, 2, tzinfo=UTC), NOW), 2),
        ((NOW, None), (NOW.replace(tzinfo=None) - timedelta(seconds=1), None), 1),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_an_older_row_never_replaces_a_newer_one(
    any_config: Any, first: tuple, second: tuple, expected: int, together: bool
) -> None:
    config, view = any_config(), view_of()
    store = opened(config)
    rows = [row(1, 1, *first), row(1, 2, *second)]
    for batch in [rows] if together else [[r] for r in rows]:
        store.online_write_batch(config, view, batch, None)
    assert clicks(store, config, view, [1]) == [expected]


def test_ttl_counts_back_from_the_declared_clock(any_config: Any) -> None:
    config, view = any_config(), view_of(ttl=timedelta(days=1))
    store = opened(config)
    old = NOW - timedelta(days=1)
    store.online_write_batch(config, view, [row(1, 1, old), row(2, 2, old - timedelta(microseconds=1))], None)
    assert store.online_read(config, view, [key(1), key(2)], [])[0] == (old, {})
    assert clicks(store, config, view, [1, 2]) == [1, None]
    assert store.online_read(config, view, [key(2)])[0] == (old - timedelta(microseconds=1), None)


def test_a_new_schema_keeps_what_stayed_and_nulls_the_rest(any_config: Any) -> None:
    config = any_config()
    store = opened(config)
    store.online_write_batch(config, view_of(), [row(1, 7)], None)
    changed = view_of(added=Float64, clicks=Int64, tags=Array(String))
    store.update(config, [], [changed], [], [USER], True)
    ((_, values),) = store.online_read(config, changed, [key(1)])
    assert values["clicks"].int64_val == 7
    assert values["added"].WhichOneof("val") is None
    assert values["tags"].WhichOneof("val") is None
    retyped = view_of(clicks=Float64, name=String)
    ((_, values),) = store.online_read(config, retyped, [key(1)])
    assert values["clicks"].WhichOneof("val") is None
    assert values["name"].string_val == "user 1"


def test_records_of_two_schemas_live_side_by_side(any_config: Any) -> None:
    config = any_config()
    store = opened(config)
    old, new = view_of(), view_of(clicks=Int64, vector=Array(Float32), name=String)
    store.online_write_batch(config, old, [row(1, 1), row(2, 2)], None)
    values = {"clicks": Value(int64_val=3), "vector": Value()}
    values["vector"].float_list_val.val.extend([1.5, 2.5])
    store.online_write_batch(config, new, [(key(3), values, NOW, None)], None)
    for view in (old, new):
        assert clicks(store, config, view, [3, 1, 9, 2]) == [3, 1, None, 2]


def test_changed_join_keys_empty_the_view(any_config: Any) -> None:
    config, view = any_config(), view_of()
    store = opened(config)
    store.online_write_batch(config, view, [row(1, 1)], None)
    view.entity_columns = [Field(name="user_id", dtype=String)]
    text = EntityKey(join_keys=["user_id"], entity_values=[Value(string_val="1")])
    assert store.online_read(config, view, [text]) == [(None, None)]
    rows = [(text, {"clicks": Value(int64_val=2), "name": Value()}, NOW, None)]
    with pytest.raises(ContractError, match="feast apply"):
        store.online_write_batch(config, view, rows, None)
    store.update(config, [], [view], [], [USER], True)
    assert store.online_read(config, view, [text]) == [(None, None)]
    store.online_write_batch(config, view, rows, None)
    ((_, values),) = store.online_read(config, view, [text])
    assert values["clicks"].int64_val == 2


def test_writes_arrow_and_leaves_out_null_keys(any_config: Any) -> None:
    config, view = any_config(), view_of()
    store = opened(config)
    assert store.write_table(config, view, table([3, None, 1], [3, 0, None])) == 2
    assert clicks(store, config, view, [1, 2, 3]) == [None, None, 3]
    assert store.write_table(config, view, table([3], [9], NOW - timedelta(days=1))) == 1
    assert clicks(store, config, view, [3]) == [3]


def test_arrow_rows_must_carry_the_views_columns(any_config: Any) -> None:
    config, view = any_config(), view_of()
    store = opened(config)
    rows = table([1], [1])
    with pytest.raises(ContractError, match="expected a column 'clicks'"):
        store.write_table(config, view, rows.drop_columns(["clicks"]))
    with pytest.raises(DataError, match="feature clicks: expected values that fit int64"):
        store.write_table(config, view, rows.set_column(1, "clicks", pa.array(["many"])))
    nulls = pa.nulls(1, pa.timestamp("us", "UTC"))
    with pytest.raises(DataError, match="a time in every row"):
        store.write_table(config, view, rows.set_column(3, "event_timestamp", nulls))
    assert clicks(store, config, view, [1]) == [None]


def test_a_cut_is_swapped_as_a_whole(any_config: Any) -> None:
    config, view = any_config(), view_of()
    store = opened(config)
    later = NOW + timedelta(days=1)
    assert store.replace_view(config, view, table([1, 2], [1, 2])) == 2
    mixed = pa.concat_tables([table([1, 9], [9, 9]), table([2, 3], [20, 30], later)])
    assert store.replace_view(config, view, mixed) == 2
    assert clicks(store, config, view, [1, 2, 3, 9]) == [None, 20, 30, None]
    assert store.replace_view(config, view, table([1], [1])) == 0
    assert clicks(store, config, view, [1, 2, 3]) == [None, 20, 30]
    assert store.replace_view(config, view, table([], [])) == 0
    assert clicks(store, config, view, [2, 3]) == [None, None]


def test_a_failed_swap_changes_nothing(any_config: Any) -> None:
    config, view = any_config(), view_of()
    store = opened(config)
    store.replace_view(config, view, table([1], [1]))
    broken = table([2], [2], NOW + timedelta(days=1)).set_column(1, "clicks", pa.array(["many"]))
    with pytest.raises(DataError):
        store.replace_view(config, view, broken)
    assert clicks(store, config, view, [1, 2]) == [1, None]


def test_values_of_the_wrong_type_are_refused(any_config: Any) -> None:
    config, view = any_config(), view_of()
    store = opened(config)
    with pytest.raises(DataError, match="clicks as int64"):
        store.online_write_batch(config, view, [(key(1), {"clicks": Value(string_val="x")}, NOW, None)], None)
    other = EntityKey(join_keys=["user_id"], entity_values=[Value(string_val="1")])
    with pytest.raises(DataError, match=r"entity keys of user_id \(integer\)"):
        store.online_write_batch(config, view, [(other, {}, NOW, None)], None)
    assert store.online_read(config, view, [other]) == [(None, None)]


def test_rare_types_are_kept_as_feast_values(any_config: Any) -> None:
    config, view = any_config(), view_of(extra=Json)
    store = opened(config)
    store.online_write_batch(config, view, [(key(1), {"extra": Value(json_val='{"a": 1}')}, NOW, None)], None)
    rows = table([2, 3], [0, 0]).append_column("extra", pa.array(['{"b": [2]}', None]))
    store.write_table(config, view, rows)
    read = store.online_read(config, view, [key(1), key(2), key(3)])
    assert [values["extra"].json_val for _, values in read] == ['{"a": 1}', '{"b": [2]}', ""]
    assert read[2][1]["extra"].WhichOneof("val") is None


def test_teardown_drops_the_views_and_then_the_file(packed_config: Any, tmp_path: Any) -> None:
    config = packed_config()
    store = opened(config)
    one, two = view_of("one"), view_of("two")
    for view in (one, two):
        store.online_write_batch(config, view, [row(1, 1)], None)
    store.update(config, [one], [two], [], [USER], True)
    assert clicks(store, config, one, [1]) == [None]
    assert clicks(store, config, two, [1]) == [1]
    store.teardown(config, [two], [USER])
    assert not (tmp_path / "online.db").exists()
    store.online_write_batch(config, two, [row(1, 2)], None)
    assert clicks(store, config, two, [1]) == [2]


def test_feast_materialises_and_reads_it(any_packed_store: Any, stock_store: Any, packed_world: Any) -> None:
    features = [f"users:{f.name}" for f in packed_world.view("users").features]
    entities = {"user_id": list(range(8))}
    ours = any_packed_store.get_online_features(features, entities).to_dict()
    stock = stock_store.get_online_features(features, entities).to_dict()
    # Feast's own way through pandas rounds integers beside a null.
    expected = [*packed_world.tables["users"]["big"].to_pylist(), None, None]
    assert ours.pop("big") == expected
    stock.pop("big")
    assert ours == stock
