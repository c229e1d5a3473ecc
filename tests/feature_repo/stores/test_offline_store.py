"""Feast's whole contract for an offline store, through FeatureStore as its users call it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.errors import (
    EntityTimestampInferenceException,
    FeastEntityDFMissingColumnsError,
    SavedDatasetLocationAlreadyExists,
)
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.repo_config import RepoConfig
from feast.types import Array, Float32, Float64, Int64, String

from feature_repo.errors import ContractError, DataError, MissingError

STAMP = pa.timestamp("us", "UTC")
DAY = timedelta(days=1)
START = datetime(2024, 1, 1, tzinfo=UTC)


def days(*numbers: float) -> pa.Array:
    return pa.array([START + number * DAY for number in numbers], STAMP)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """A store with a user view, an item view with mapped names, a pair view, one without entities, two on demand."""
    repo = tmp_path_factory.mktemp("repo")
    users = {
        "user_id": ["a", "a", "b"],
        "event_timestamp": days(0, 2, 1),
        "created_timestamp": days(0, 5, 1),
        "clicks": [1, 2, 3],
        "rn": [1.0, 2.0, 3.0],
        "tags": [["x"], ["x", "y"], None],
    }
    items = {"iid": [7, 8], "at": days(0, 0), "views_y": [70, 80], "score": pa.array([0.1, 0.2], pa.float64())}
    pairs = {"user_id": ["a", "b"], "item_id": [8, 7], "event_timestamp": days(0, 0), "seen": [18, 27]}
    world = {"event_timestamp": days(0, 3), "total": [100, 200]}
    for name, columns in {"users": users, "items": items, "pairs": pairs, "world": world}.items():
        (repo / "lake" / name).mkdir(parents=True)
        pq.write_table(pa.table(columns), repo / "lake" / name / "1.parquet")
    made = FeatureStore(config=config(repo))
    made.apply(definitions())
    return made


def config(repo: Path, **store: object) -> RepoConfig:
    return RepoConfig(
        project="p",
        provider="local",
        registry=str(repo / "registry.db"),
        offline_store={"type": "feature_repo.stores.offline.AsofOfflineStore", "threads": 1, **store},
        online_store={"type": "sqlite", "path": str(repo / "online.db")},
        entity_key_serialization_version=3,
        repo_path=repo,
    )


def definitions() -> list[Any]:
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)
    users = FeatureView(
        name="users",
        entities=[user],
        ttl=timedelta(days=4),
        schema=[
            Field(name="user_id", dtype=String),
            Field(name="clicks", dtype=Int64),
            Field(name="rn", dtype=Float64),
            Field(name="tags", dtype=Array(String)),
        ],
        source=FileSource(
            name="users_source",
            path="lake/users",
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        ),
    )
    items = FeatureView(
        name="items",
        entities=[item],
        schema=[
            Field(name="item_id", dtype=Int64),
            Field(name="views_y", dtype=Int64),
            Field(name="score", dtype=Float32),
        ],
        source=FileSource(
            name="items_source",
            path="lake/items/*.parquet",
            timestamp_field="at",
            field_mapping={"iid": "item_id", "absent": "at"},
        ),
    )
    pairs = FeatureView(
        name="pairs",
        entities=[user, item],
        schema=[
            Field(name="user_id", dtype=String),
            Field(name="item_id", dtype=Int64),
            Field(name="seen", dtype=Int64),
        ],
        source=FileSource(name="pairs_source", path="lake/pairs/1.parquet", timestamp_field="event_timestamp"),
    )
    world = FeatureView(
        name="world",
        entities=[],
        schema=[Field(name="total", dtype=Int64)],
        source=FileSource(name="world_source", path="lake/world", timestamp_field="event_timestamp"),
    )
    request = RequestSource(name="request", schema=[Field(name="bonus", dtype=Int64)])

    @on_demand_feature_view(sources=[users, request], schema=[Field(name="clicks_plus", dtype=Int64)], mode="pandas")
    def plus(inputs: pd.DataFrame) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame({"clicks_plus": (inputs["clicks"].fillna(0) + inputs["bonus"]).astype("int64")})

    @on_demand_feature_view(sources=[items], schema=[Field(name="score_twice", dtype=Float64)], mode="python")
    def twice(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"score_twice": [None if score is None else 2 * score for score in inputs["score"]]}

    service = FeatureService(name="service", features=[users[["clicks"]], pairs, twice])
    return [user, item, users, items, pairs, world, plus, twice, service]


FRAME = pa.table(
    {
        "label": [1, 0, 1, 0],
        "item_id": [7, 8, 7, 9],
        "user_id": ["b", "a", "a", "c"],
        "event_timestamp": days(2, 3, 6, 3),
        "note": ["n1", "n2", "n3", "n4"],
    }
)


def test_columns_come_in_order_and_untouched(store: FeatureStore) -> None:
    refs = ["users:clicks", "items:views_y", "users:rn", "pairs:seen", "users:tags", "world:total"]
    result = store.get_historical_features(entity_df=FRAME, features=refs).to_arrow()
    assert result.select(FRAME.column_names).equals(FRAME)
    assert result.column_names[:5] == FRAME.column_names
    assert result.select(["clicks", "rn", "views_y", "seen", "tags", "total"]).to_pydict() == {
        "clicks": [3, 1, 2, None],  # the row of day 2 was created on day 5; at day 6 it is 4 days old
        "rn": [3.0, 1.0, 2.0, None],
        "views_y": [70, 80, 70, None],
        "seen": [27, 18, None, None],
        "tags": [None, ["x"], ["x", "y"], None],
        "total": [100, 200, 200, 200],
    }


def test_a_frame_of_pandas_means_the_same(store: FeatureStore) -> None:
    refs = ["users:clicks", "users:tags", "items:score"]
    expected = store.get_historical_features(entity_df=FRAME, features=refs).to_arrow()
    frame = FRAME.to_pandas().set_index(pd.Index([5, 5, 1, 0]))
    got = store.get_historical_features(entity_df=frame, features=refs)
    assert got.to_arrow().cast(expected.schema).equals(expected)
    assert list(got.to_df().index) == [0, 1, 2, 3]
    frame["item_id"] = [7.0, 8.0, 7.0, float("nan")]  # what pandas makes of an integer column with a gap
    assert store.get_historical_features(entity_df=frame, features=refs).to_arrow()["score"].equals(expected["score"])


def test_late_rows_are_seen_when_the_setting_says_so(store: FeatureStore, tmp_path: Path) -> None:
    loose = FeatureStore(config=config(store.config.repo_path, strict_created_timestamp=False))
    frame = FRAME.slice(1, 1)
    ask = {"entity_df": frame, "features": ["users:clicks"]}
    assert loose.get_historical_features(**ask).to_arrow()["clicks"].to_pylist() == [2]
    strict = loose.get_historical_features(**ask, filter_by_created_timestamp=True)
    assert strict.to_arrow()["clicks"].to_pylist() == [1]


def test_full_names_and_aliases(store: FeatureStore) -> None:
    users = store.get_feature_view("users")
    friend = users[["clicks"]].with_name("friend").with_join_key_map({"user_id": "friend_id"})
    me = users[["clicks"]].with_name(
        "me"
    )  # Feast can't compare a service whose one view has an alias and the other none
    service = FeatureService(name="friends", features=[me, friend])
    frame = pa.table({"user_id": ["a", "b"], "friend_id": ["b", "a"], "event_timestamp": days(1, 1)})
    store.apply([service])
    result = store.get_historical_features(entity_df=frame, features=service, full_feature_names=True).to_arrow()
    assert result.column_names == [*frame.column_names, "me__clicks", "friend__clicks"]
    assert result["me__clicks"].to_pylist() == [1, 3]
    assert result["friend__clicks"].to_pylist() == [3, 1]


@pytest.mark.parametrize("full", [False, True])
def test_on_demand_views_and_services(store: FeatureStore, full: bool) -> None:
    service = store.get_feature_service("service")
    result = store.get_historical_features(entity_df=FRAME, features=service, full_feature_names=full).to_arrow()
    assert result[f"{'pairs__' if full else ''}seen"].to_pylist() == [27, 18, None, None]
    twice = result[f"{'twice__' if full else ''}score_twice"].to_pylist()
    assert twice == [pytest.approx(0.2), pytest.approx(0.4), pytest.approx(0.2), None]


SUBSTRAIT_PLAN = b"""{
  "version": {"minorNumber": 42},
  "relations": [{"root": {"names": ["score_again"], "input": {"read": {
    "baseSchema": {"names": ["score"], "struct": {"types": [{"fp32": {"nullability": "NULLABILITY_NULLABLE"}}]}},
    "namedTable": {"names": ["inputs"]}}}}}]
}"""


def test_on_demand_views_as_substrait_plans(store: FeatureStore) -> None:
    from feast import OnDemandFeatureView
    from feast.transformation.substrait_transformation import SubstraitTransformation
    from pyarrow._substrait import _parse_json_plan

    again = OnDemandFeatureView(
        name="again",
        sources=[store.get_feature_view("items")],
        schema=[Field(name="score_again", dtype=Float64)],
        feature_transformation=SubstraitTransformation(
            _parse_json_plan(SUBSTRAIT_PLAN).to_pybytes(), lambda table: table
        ),
        mode="substrait",
    )
    store.apply([again])
    refs = ["items:score", "again:score_again"]
    result = store.get_historical_features(entity_df=FRAME, features=refs).to_arrow()
    assert result["score"].null_count == 1
    assert result["score_again"].to_pylist() == result["score"].to_pylist()


def test_on_demand_views_of_one_row_get_columns_as_everywhere_offline(store: FeatureStore) -> None:
    """Feast calls a singleton view offline with whole columns; with single values only where it infers and serves."""

    @on_demand_feature_view(
        sources=[store.get_feature_view("items")],
        schema=[Field(name="score_sign", dtype=Float64)],
        mode="python",
        singleton=True,
    )
    def sign(inputs: dict[str, Any]) -> dict[str, Any]:
        score = inputs["score"]
        return {"score_sign": [float(one is not None) for one in score] if isinstance(score, list) else 1.0}

    store.apply([sign])
    result = store.get_historical_features(entity_df=FRAME, features=["sign:score_sign"]).to_arrow()
    assert result["score_sign"].to_pylist() == [1.0, 1.0, 1.0, 0.0]


def test_request_data_comes_with_the_frame(store: FeatureStore) -> None:
    frame = FRAME.append_column("bonus", pa.array([10, 20, 30, 40]))
    job = store.get_historical_features(entity_df=frame, features=["plus:clicks_plus"])
    assert job.to_arrow()["clicks_plus"].to_pylist() == [13, 21, 32, 40]
    assert pa.concat_tables(job.slices())["clicks_plus"].to_pylist() == [13, 21, 32, 40]
    with pytest.raises(FeastEntityDFMissingColumnsError, match="bonus"):
        store.get_historical_features(entity_df=FRAME, features=["plus:clicks_plus"])


def test_sql_frame_reads_views_by_name_and_files_from_the_repo(store: FeatureStore) -> None:
    query = """
        SELECT u.user_id, i.iid AS item_id, TIMESTAMPTZ '2024-01-03 00:00:00+00' AS event_timestamp
        FROM users AS u, 'lake/items/1.parquet' AS i WHERE u.clicks <> 2
    """
    job = store.get_historical_features(entity_df=query, features=["users:clicks", "items:views_y"])
    rows = job.to_arrow().sort_by([("user_id", "ascending"), ("item_id", "ascending")])
    assert rows["clicks"].to_pylist() == [1, 1, 3, 3]
    assert rows["views_y"].to_pylist() == [70, 80, 70, 80]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET file_search_path = '{store.config.repo_path}'")
        written = connection.sql(job.to_sql()).to_arrow_table()
    assert written.sort_by([("user_id", "ascending"), ("item_id", "ascending")])["clicks"].to_pylist() == [1, 1, 3, 3]
    with pytest.raises(DataError, match="nowhere"):
        store.get_historical_features(entity_df="SELECT * FROM nowhere", features=["users:clicks"]).to_arrow()


def test_dates_alone_take_the_keys_seen_between_them(store: FeatureStore) -> None:
    job = store.get_historical_features(
        features=["users:clicks", "pairs:seen"], start_date=START + DAY / 2, end_date=START + 3 * DAY
    )
    result = job.to_arrow().sort_by("user_id").to_pydict()
    assert result["user_id"] == ["a", "b"]
    assert result["event_timestamp"] == [START + 3 * DAY] * 2
    assert result["clicks"] == [1, 3]
    assert job.metadata.min_event_timestamp == job.metadata.max_event_timestamp == START + 3 * DAY


@pytest.mark.parametrize("path", ["saved.parquet", "saved_directory"])
def test_saved_data_sets(store: FeatureStore, tmp_path: Path, path: str) -> None:
    service = store.get_feature_service("service")
    job = store.get_historical_features(entity_df=FRAME, features=service)
    storage = SavedDatasetFileStorage(path=str(tmp_path / path))
    data_set = store.create_saved_dataset(job, name=f"set_{path}", storage=storage)
    assert data_set.to_df()["clicks"].tolist()[:3] == [3, 1, 2]
    assert {"clicks", "seen", "score_twice", "user_id", "item_id"} <= set(data_set.to_df().columns)
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(storage)
    job.persist(storage, allow_overwrite=True)
    assert pq.read_table(tmp_path / path).num_rows == FRAME.num_rows
    assert [entry.name for entry in tmp_path.iterdir()] == [path]


def test_errors_name_what_is_wrong(store: FeatureStore) -> None:
    with pytest.raises(FeastEntityDFMissingColumnsError, match="user_id"):
        store.get_historical_features(entity_df=FRAME.drop_columns(["user_id"]), features=["users:clicks"])
    with pytest.raises(EntityTimestampInferenceException):
        store.get_historical_features(entity_df=FRAME.drop_columns(["event_timestamp"]), features=["users:clicks"])
    clash = FRAME.append_column("clicks", FRAME["label"])
    with pytest.raises(ContractError, match="named like a feature"):
        store.get_historical_features(entity_df=clash, features=["users:clicks"])
    numbers = FRAME.set_column(2, "user_id", pa.array([1, 2, 3, 4]))
    job = store.get_historical_features(entity_df=numbers, features=["users:clicks"])
    with pytest.raises(ContractError, match="join keys of one kind"):
        job.to_arrow()
    with pytest.raises(KeyError, match="nothing"):
        store.get_historical_features(entity_df=FRAME, features=["users:nothing"])
    with pytest.raises(ContractError, match="to_sql"):
        store.get_historical_features(entity_df=FRAME, features=["users:clicks"]).to_sql()


def test_a_missing_source_names_its_path(tmp_path: Path) -> None:
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    source = FileSource(name="s", path="nothing/here", timestamp_field="event_timestamp")
    schema = [Field(name="user_id", dtype=String), Field(name="f", dtype=Int64)]
    view = FeatureView(name="v", entities=[user], schema=schema, source=source)
    made = FeatureStore(config=config(tmp_path))
    made.apply([user, view])
    frame = pa.table({"user_id": ["a"], "event_timestamp": days(0)})
    with pytest.raises(MissingError, match="nothing/here"):
        made.get_historical_features(entity_df=frame, features=["v:f"]).to_arrow()
    (tmp_path / "nothing" / "here").mkdir(parents=True)
    empty = made.get_historical_features(entity_df=frame, features=["v:f"]).to_arrow()
    assert empty["f"].to_pylist() == [None]
    assert empty["f"].type == pa.int64()


def test_features_come_in_their_declared_type(store: FeatureStore) -> None:
    result = store.get_historical_features(entity_df=FRAME, features=["items:score"]).to_arrow()
    assert result["score"].type == pa.float32()


def test_any_single_timestamp_column_is_the_time(store: FeatureStore) -> None:
    frame = pa.table({"user_id": ["a"], "when": pa.array([datetime(2024, 1, 2)])})
    result = store.get_historical_features(entity_df=frame, features=["users:clicks"]).to_arrow()
    assert result["clicks"].to_pylist() == [1]
    assert result["when"].type == STAMP
