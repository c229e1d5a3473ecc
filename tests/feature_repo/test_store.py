"""The store of a workspace: training frames, increments of the online store, the same definitions on stock stores."""

from __future__ import annotations

import json
import logging
import warnings
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from feature_repo import store
from feature_repo.building.run import build_features
from feature_repo.data_set import DataSet
from feature_repo.discovery import discover
from feature_repo.errors import MissingError
from feature_repo.services import RANKER, RETRIEVAL
from feature_repo.stores.parquet_writer import append_partitioned
from feature_repo.workspace import Workspace

TIMES = pa.timestamp("us", tz="UTC")


def spine(workspace: Workspace, size: int) -> pa.Table:
    with workspace.connect() as connection:
        pairs = connection.sql(
            f"SELECT user_id, item_id FROM events ORDER BY hash(user_id, item_id, event_timestamp) LIMIT {size}"
        ).to_arrow_table()
    moments = [workspace.periods.test.start if row % 2 else workspace.now for row in range(size)]
    return pairs.append_column("event_timestamp", pa.array(moments, TIMES)).append_column("row", pa.array(range(size)))


def test_rows_keep_their_order_and_columns(world: Workspace) -> None:
    rows = spine(world, 50)
    features = store.historical_features(world, rows, RANKER)
    assert features.select(rows.column_names).equals(rows)
    columns = store.service_columns(store.feature_service(store.open_store(world), RANKER))
    assert features.column_names == [*rows.column_names, *columns]
    assert not set(columns) & {"request_time", "user_last_event_at", "item_categories", "cut"}


def test_an_unknown_service_is_named(world: Workspace) -> None:
    with pytest.raises(MissingError, match=r'ranker_v1.*ranker_v2.*Did you mean "ranker_v1"'):
        store.historical_features(world, spine(world, 1), "ranker_v2")


def test_a_query_over_the_lake_is_an_entity_frame(world: Workspace) -> None:
    query = """
        SELECT e.user_id, e.item_id, e.event_timestamp, e.value AS label
        FROM events AS e JOIN users USING (user_id) JOIN items USING (item_id)
        WHERE hash(e.user_id, e.item_id, e.event_timestamp) % 50 = 0
    """
    features = ["item_popularity:item_events_7d", "user_item:pair_events_all", "item_attributes:item_categories"]
    opened = store.open_store(world)
    with store.quiet():
        asked = opened.get_historical_features(query, features).to_arrow()
        with world.connect() as connection:
            frame = connection.sql(query).to_arrow_table()
        given = opened.get_historical_features(frame, features).to_arrow()
    order = [("user_id", "ascending"), ("item_id", "ascending"), ("event_timestamp", "ascending")]
    assert asked.num_rows > 20
    assert asked.column_names[:4] == ["user_id", "item_id", "event_timestamp", "label"]
    assert asked.sort_by(order).equals(given.sort_by(order))


def test_retrieval_reads_a_users_items_in_order(world: Workspace) -> None:
    opened = store.open_store(world)
    with world.connect() as connection:
        user = connection.sql("SELECT min(user_id) FROM events WHERE hash(user_id, item_id, 1) % 3 = 0").fetchall()[0][
            0
        ]
    answer = opened.get_online_features(opened.get_feature_service(RETRIEVAL), {"user_id": [user, -1]}).to_dict()
    assert len(answer["candidate_items"][0]) == len(answer["candidate_scores"][0]) > 0
    assert answer["candidate_items"][1] is None


def test_materialize_follows_the_log(small_workspace, small_log, write_load) -> None:
    workspace = small_workspace(40)
    with pytest.raises(MissingError, match="features build"):
        store.materialize(workspace)
    build_features(workspace)
    first = {entry.view: entry for entry in store.materialize(workspace)}
    assert first["user_item"].start == store.BEGINNING
    clock = json.loads((workspace.data_dir / "clock.json").read_text())
    assert clock["now"] == workspace.now.isoformat()
    assert clock["served"] == [clock["now"]]

    late = small_log(41)["events"].slice(0, 20)
    shifted = pa.array([workspace.now + timedelta(hours=number) for number in range(20)], TIMES)
    write_load(workspace.lake, late.set_column(2, "event_timestamp", shifted))
    later = Workspace(workspace.data_dir, workspace.config)
    build_features(later)
    left = [later.feature_path("user_item") / "pushed", later.lake.root / "served" / RANKER / "__log_date=2024-01-01"]
    for folder in left:
        for _ in range(20):
            append_partitioned(_some_row(later), folder, [])
    second = {entry.view: entry for entry in store.materialize(later)}
    # The time that was served stays a snapshot, so nothing before it has changed.
    assert second["user_item"].start == workspace.now
    assert second["user_item"].end == later.now
    # What a server left in many small files lies in one now.
    assert [len(list(folder.glob("*.parquet"))) for folder in left] == [1, 1]
    pairs = pa.table({"user_id": range(1, 9), "item_id": range(1, 9)})
    moment = pa.array([later.now] * 8, TIMES)
    offline = store.historical_features(later, pairs.append_column("event_timestamp", moment), RANKER)
    online = store.online_features(later, pairs, RANKER)
    assert offline["user_events_7d"].to_pylist() == online["user_events_7d"].to_pylist()
    assert offline["pair_days_since_last_event"].to_pylist() == online["pair_days_since_last_event"].to_pylist()


def _some_row(workspace: Workspace) -> pa.Table:
    """A row of a view's own: an equal one is the same row to a point-in-time join."""
    files = sorted(workspace.feature_path("user_item").glob("[0-9]*.parquet"))
    return pq.read_table(files[-1]).slice(0, 1)


def test_a_view_that_is_no_longer_defined_leaves_the_registry(small_workspace, monkeypatch) -> None:
    from feature_repo.views import user_attributes

    workspace = small_workspace(42)
    assert "user_attributes" in {view.name for view in store.apply(workspace).list_feature_views()}
    monkeypatch.setattr(user_attributes, "define", lambda _data: None)
    assert "user_attributes" not in {view.name for view in store.apply(workspace).list_feature_views()}
    service = store.feature_service(store.open_store(workspace), RANKER)
    assert "user_a_group" not in store.service_columns(service)


def test_quiet_keeps_chatter_off_the_terminal(capfd: pytest.CaptureFixture) -> None:
    with store.quiet():
        print("chatter")
        warnings.warn("chatter", stacklevel=1)
        logging.getLogger("feast").warning("chatter")
    logging.getLogger("feast").warning("heard")
    assert "chatter" not in "".join(capfd.readouterr())
    with pytest.raises(ValueError, match="said"), store.quiet():
        raise ValueError("said")


def test_the_same_definitions_run_on_stock_stores(world: Workspace, tmp_path: Path) -> None:
    """Feast's DuckDB and SQLite stores over the same files give the same features for pairs of the newest cut."""
    from feast import FeatureStore

    raw = {
        "project": "rankhouse",
        "provider": "local",
        "registry": str(tmp_path / "registry.db"),
        "offline_store": {"type": "duckdb"},
        "online_store": {"type": "sqlite", "path": str(tmp_path / "online.db")},
        "entity_key_serialization_version": 3,
    }
    (tmp_path / "feature_store.yaml").write_text(yaml.safe_dump(raw))
    names = (
        "user_activity",
        "item_popularity",
        "item_attributes",
        "user_attributes",
        "user_category_affinity",
        "user_item",
    )
    with store.quiet():
        stock = FeatureStore(repo_path=str(tmp_path))
        definitions = discover(DataSet.of(world))
        stock.apply(definitions.objects)
        refs = [
            f"{view.name}:{field.name}"
            for view in (*definitions.views, *definitions.on_demand)
            for field in view.features
            if view.name in (*names, "recency", "affinity")
            and "Timestamp" not in str(field.dtype)
            and "Array" not in str(field.dtype)
        ]
        rows = spine(world, 40)
        rows = rows.append_column("request_time", rows["event_timestamp"])
        found = stock.get_historical_features(rows.to_pandas(), refs).to_df().sort_values("row")
        ours = store.historical_features(world, rows.drop_columns("request_time"), RANKER)
        stock.materialize(store.BEGINNING, world.now, feature_views=list(names))
        keys = {name: ours[name].to_pylist() for name in ("user_id", "item_id")}
        online = stock.get_online_features(refs, {**keys, "request_time": [world.now] * 40}).to_dict()
    for ref in refs:
        name = ref.partition(":")[2]
        mine = ours[name].to_pandas()
        theirs = found[name].reset_index(drop=True).astype(mine.dtype)
        assert mine.equals(theirs), name
        newest = [row for row in range(0, 40, 2)]
        assert [online[name][row] for row in newest] == [ours[name][row].as_py() for row in newest], name
