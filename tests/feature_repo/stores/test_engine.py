from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, ValueType
from feast.types import Float64, Int64
from feast.types import UnixTimestamp as Time

from feature_repo.stores import latest
from feature_repo.stores.online import PackedSqliteOnlineStore

NOW = datetime(2026, 1, 31, tzinfo=UTC)
DAY = timedelta(days=1)
TIME = pa.timestamp("us", "UTC")
USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)


def rows(*values: tuple[int, int | None, datetime]) -> pa.Table:
    users, clicks, times = zip(*values, strict=True)
    return pa.table(
        {
            "uid": pa.array(users, pa.int64()),
            "clicks": pa.array(clicks, pa.int64()),
            "event_timestamp": pa.array(times, TIME),
            "created_timestamp": pa.array(times, TIME),
        }
    )


def source(path: Path, **mapping: str) -> FileSource:
    return FileSource(
        name=path.stem,
        path=str(path),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
        field_mapping=mapping,
    )


def view(path: Path, name: str = "clicks", **more: Any) -> FeatureView:
    fields = [Field(name="user_id", dtype=Int64), Field(name="clicks", dtype=Int64)]
    origin = more.pop("source", None) or source(path, uid="user_id")
    return FeatureView(name=name, entities=[USER], ttl=timedelta(0), schema=fields, source=origin, **more)


def read(store: FeatureStore, users: list[int], name: str = "clicks") -> list[int | None]:
    return store.get_online_features([f"{name}:clicks"], {"user_id": users}).to_dict()["clicks"]


@pytest.fixture
def store(any_config: Any) -> FeatureStore:
    return FeatureStore(config=any_config())


@pytest.fixture
def sqlite_store(packed_config: Any) -> FeatureStore:
    return FeatureStore(config=packed_config())


def test_the_latest_row_in_the_range_is_materialised(store: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "clicks.parquet"
    big = 2**53 + 1
    pq.write_table(rows((1, 1, NOW - 3 * DAY), (1, big, NOW - 2 * DAY), (2, None, NOW - DAY), (3, 9, NOW + DAY)), path)
    store.apply([USER, view(path)])
    store.materialize(NOW - 10 * DAY, NOW)
    assert read(store, [1, 2, 3]) == [big, None, None]
    store.materialize(NOW - 10 * DAY, NOW - 2.5 * DAY)
    assert read(store, [1]) == [big], "an older window must not replace a newer row"
    pq.write_table(rows((1, 5, NOW + 2 * DAY), (4, 4, NOW + DAY)), path)
    store.materialize_incremental(NOW + 3 * DAY)
    assert read(store, [1, 2, 4]) == [5, None, 4]


def test_a_cut_view_is_swapped(store: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "cut.parquet"
    pq.write_table(rows((1, 1, NOW - 2 * DAY), (2, 2, NOW - 2 * DAY), (2, 20, NOW), (3, 30, NOW)), path)
    store.apply([USER, view(path, tags={"swap": "cut"})])
    store.materialize(NOW - 10 * DAY, NOW - DAY)
    assert read(store, [1, 2, 3]) == [1, 2, None]
    store.materialize(NOW - 10 * DAY, NOW)
    assert read(store, [1, 2, 3]) == [None, 20, 30]
    store.materialize(NOW - 10 * DAY, NOW - DAY)
    store.materialize(NOW + DAY, NOW + 2 * DAY)
    assert read(store, [1, 2, 3]) == [None, 20, 30], "neither an older cut nor an empty range may replace it"


def test_rows_that_events_renewed_since_the_cut_stay_beside_the_others(store: FeatureStore, tmp_path: Path) -> None:
    """With `swap_by` a column says of which cut a row is: a newer row of one key does not make the others old."""
    path = tmp_path / "history.parquet"
    old, new, pushed = NOW - 3 * DAY, NOW - DAY, NOW - DAY / 2
    table = rows((1, 1, old), (2, 2, old), (2, 20, new), (3, 30, new), (3, 31, pushed), (1, 9, old + DAY / 2))
    cuts = pa.array([old, old, new, new, new, old], TIME)
    pq.write_table(table.append_column("fitted", cuts), path)
    fields = [Field(name="user_id", dtype=Int64), Field(name="clicks", dtype=Int64), Field(name="fitted", dtype=Time)]
    history = FeatureView(
        name="history", entities=[USER], ttl=timedelta(0), schema=fields, source=source(path, uid="user_id"),
        tags={"swap": "cut", "swap_by": "fitted"},
    )  # fmt: skip
    store.apply([USER, history])
    for moment, known in ((old + DAY, [9, 2, None]), (new, [None, 20, 30]), (NOW, [None, 20, 31])):
        store.materialize(NOW - 10 * DAY, moment)
        assert read(store, [1, 2, 3], "history") == known


def test_views_that_are_written_offline_too_go_feasts_own_way(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clicks.parquet"
    pq.write_table(rows((1, 1, NOW - DAY), (2, 2, NOW - DAY)), path)
    store.apply([USER, view(path, offline=True)])
    offline = store._get_provider().offline_store
    written: list[int] = []
    monkeypatch.setattr(offline, "offline_write_batch", lambda **call: written.append(call["table"].num_rows))
    store.materialize(NOW - 10 * DAY, NOW)
    assert written == [2]
    assert read(store, [1, 2]) == [1, 2]


def test_views_without_entities(store: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "totals.parquet"
    pq.write_table(rows((1, 7, NOW - 2 * DAY), (1, 8, NOW - DAY)).drop_columns(["uid"]), path)
    totals = FeatureView(
        name="totals", entities=[], ttl=timedelta(0), schema=[Field(name="clicks", dtype=Int64)], source=source(path)
    )
    pq.write_table(rows((1, 1, NOW - DAY)), tmp_path / "clicks.parquet")
    store.apply([USER, totals, view(tmp_path / "clicks.parquet", "own")])
    store.materialize(NOW - 10 * DAY, NOW)
    features = ["totals:clicks", "own:clicks"]
    values = store.get_online_features(features, {"user_id": [1, 2]}, full_feature_names=True).to_dict()
    assert values == {"user_id": [1, 2], "totals__clicks": [8, 8], "own__clicks": [1, None]}


def test_pushes_reach_the_store(store: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "clicks.parquet"
    pq.write_table(rows((1, 1, NOW - DAY)).rename_columns({"uid": "user_id"}), path)
    pushed = PushSource(name="pushed", batch_source=source(path))
    store.apply([USER, view(path, source=pushed)])
    store.materialize(NOW - 10 * DAY, NOW)

    def push(user: int, clicks: int, moment: datetime) -> None:
        times = {"event_timestamp": [moment], "created_timestamp": [moment]}
        store.push("pushed", pd.DataFrame({"user_id": [user], "clicks": [clicks], **times}))

    push(1, 5, NOW - 2 * DAY)
    assert read(store, [1]) == [1]
    push(1, 6, NOW)
    push(2, 7, NOW)
    assert read(store, [1, 2]) == [6, 7]


def test_feasts_own_engine_fills_the_packed_store(any_config: Any, tmp_path: Path) -> None:
    config = any_config()
    config.batch_engine_config = {"type": "local"}
    store, path = FeatureStore(config=config), tmp_path / "clicks.parquet"
    pq.write_table(rows((1, 1, NOW - 3 * DAY), (1, 2, NOW - 2 * DAY), (2, 3, NOW - DAY)), path)
    store.apply([USER, view(path)])
    store.materialize(NOW - 10 * DAY, NOW)
    assert read(store, [1, 2, 3]) == [2, 3, None]


def test_apply_announces_a_changed_schema_and_drops_deleted_views(
    store: FeatureStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "clicks.parquet"
    pq.write_table(rows((1, 1, NOW - DAY)), path)
    store.apply([USER, view(path), view(path, "gone")])
    store.materialize(NOW - 10 * DAY, NOW)
    changed = view(path)
    changed.features = [*changed.features, Field(name="extra", dtype=Float64)]
    store.apply([USER, changed], objects_to_delete=[view(path, "gone")], partial=False)
    assert "clicks: extra null until the next materialize" in caplog.text
    values = store.get_online_features(["clicks:clicks", "clicks:extra"], {"user_id": [1]}).to_dict()
    assert values == {"user_id": [1], "clicks": [1], "extra": [None]}
    if isinstance(store._get_provider().online_store, PackedSqliteOnlineStore):
        database = store._get_provider().online_store.database(store.config)
        with database.snapshot() as snapshot:
            assert set(snapshot.catalogue.views) == {("test", "clicks")}
        store.teardown()
        assert not database.path.exists()
    else:
        client = store._get_provider().online_store.records(store.config).client
        assert {name.split(b":")[1] for name in client.keys("*")} == {b'{["test", "clicks"]}'}
        store.teardown()
        assert not client.keys("*")


def test_plan_lists_the_views(sqlite_store: FeatureStore, tmp_path: Path) -> None:
    from feast.infra.infra_object import Infra
    from feast.protos.feast.core.Registry_pb2 import Registry

    store, path = sqlite_store, tmp_path / "clicks.parquet"
    pq.write_table(rows((1, 1, NOW - DAY)), path)
    offline = view(path, "offline_only", online=False)
    desired = Registry(feature_views=[view(path).to_proto(), offline.to_proto()])
    provider = store._get_provider()
    infra = provider.plan_infra(store.config, desired)
    assert [thing.name for thing in infra.infra_objects] == ["test_clicks"]
    again = Infra.from_proto(infra.to_proto())
    store.apply([USER, view(path)])
    again.infra_objects[0].teardown()
    with provider.online_store.database(store.config).snapshot() as snapshot:
        assert not snapshot.catalogue.views


@pytest.mark.parametrize("cut", [True, False])
def test_pieces_of_any_size_give_the_same_store(
    packed_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: bool
) -> None:
    """Rows in no order, in several files, versions of one key in several of them; equal times are decided by place."""
    rng, contents = np.random.default_rng(0), []
    for number in range(4):
        users = rng.permutation(200)[:150].tolist()
        values = [None if user % 7 == 0 else user * 10 + number for user in users]
        days = [0] * 150 if cut else rng.integers(0, 3, 150).tolist()
        times = [NOW - 5 * DAY + int(day) * DAY for day in days]
        pq.write_table(rows(*zip(users, values, times, strict=True)), tmp_path / f"{number}.parquet", row_group_size=40)
    for piece, chosen, batch in ((1 << 19, 1 << 22, 65_536), (30, 50, 7)):
        monkeypatch.setattr(latest, "PIECE_ROWS", piece)
        monkeypatch.setattr(latest, "CHOSEN_ROWS", chosen)
        monkeypatch.setattr(PackedSqliteOnlineStore, "batch_rows", batch)
        config = packed_config(path=f"online-{piece}.db")
        config.offline_config = {"type": "feature_repo.stores.offline.AsofOfflineStore"}
        store = FeatureStore(config=config)
        origin = source(tmp_path / "*.parquet", uid="user_id")
        store.apply([USER, view(tmp_path, source=origin, tags={"swap": "cut"} if cut else {})])
        store.materialize(NOW - 10 * DAY, NOW)
        with store._get_provider().online_store.database(store.config).snapshot() as snapshot:
            contents.append(snapshot.all_records(snapshot.catalogue.views["test", "clicks"], 1 << 30))
    assert len(contents[0]) > 190
    assert contents[0] == contents[1]
