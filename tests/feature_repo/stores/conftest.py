"""A small world with every packed type, on the packed store and on Feast's own SQLite store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView
    from feast.repo_config import RepoConfig

NOW = datetime(2026, 1, 31, tzinfo=UTC)
PACKED = "feature_repo.stores.online.PackedSqliteOnlineStore"
REDIS = "feature_repo.stores.online_redis.PackedRedisOnlineStore"
ENGINE = "feature_repo.stores.engine.ArrowComputeEngine"
TIME = pa.timestamp("us", "UTC")
ITEMS = ["i0", "i1", "é\0☃", "", "i'; DROP TABLE views; --", "i5", "i6", "i7"]


def _config(folder: Path, online: dict[str, Any]) -> RepoConfig:
    from feast.repo_config import RepoConfig

    return RepoConfig(
        project="test",
        provider="local",
        registry=str(folder / "registry.db"),
        repo_path=folder,
        online_store=online,
        offline_store={"type": "duckdb"},
        batch_engine={"type": ENGINE},
        entity_key_serialization_version=3,
    )


@pytest.fixture
def packed_config(tmp_path: Path) -> Callable[..., RepoConfig]:
    """Build a RepoConfig with the packed store in `tmp_path`; keywords are its settings."""

    def build(**settings: Any) -> RepoConfig:
        return _config(tmp_path, {"type": PACKED, "path": "online.db", "clock": NOW.isoformat(), **settings})

    return build


@pytest.fixture
def redis_config(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., RepoConfig]:
    """Build a RepoConfig with the packed store in an empty Redis database; keywords are its settings."""
    url = f"{request.getfixturevalue('redis_url')}/0"
    from redis import Redis

    with Redis.from_url(url) as client:
        client.flushdb()

    def build(**settings: Any) -> RepoConfig:
        return _config(tmp_path, {"type": REDIS, "url": url, "clock": NOW.isoformat(), **settings})

    return build


@pytest.fixture(params=["sqlite", "redis"])
def any_config(request: pytest.FixtureRequest) -> Callable[..., RepoConfig]:
    """Build a RepoConfig with each of the packed stores in turn."""
    return request.getfixturevalue("packed_config" if request.param == "sqlite" else "redis_config")


@dataclass(frozen=True)
class World:
    """Definitions and source tables: users (int64), items (string), pairs (both keys), two on-demand views."""

    objects: list[Any]
    tables: dict[str, pa.Table]

    def view(self, name: str) -> FeatureView:
        return next(thing for thing in self.objects if thing.name == name)


def _times(rng: np.random.Generator, rows: int) -> pa.Array:
    seconds = int(NOW.timestamp()) - rng.integers(0, 20 * 86_400, rows)
    return pa.array(seconds * 1_000_000, pa.int64()).cast(TIME)


def _with_nulls(rng: np.random.Generator, values: list[Any], kind: pa.DataType) -> pa.Array:
    missing = rng.random(len(values)) < 0.25
    return pa.array([None if m else v for v, m in zip(values, missing, strict=True)], kind)


def _tables() -> dict[str, pa.Table]:
    rng = np.random.default_rng(7)
    users, items = 6, len(ITEMS)
    pairs = [(user, item) for user in range(users) for item in range(0, items, 2)]
    big = [2**53 + 1, -(2**62) - 1, 0, 7, 2**53 + 3, 1]
    lists = [[float(i), i / 4] * (i % 3) for i in range(users)]

    def clocks(rows: int) -> dict[str, pa.Array]:
        times = _times(rng, rows)
        return {"event_timestamp": times, "created_timestamp": times}

    return {
        "users": pa.table(
            {
                "user_id": pa.array(range(users), pa.int64()),
                "age": _with_nulls(rng, [20 + i for i in range(users)], pa.int32()),
                "big": _with_nulls(rng, big, pa.int64()),
                "vector": _with_nulls(rng, lists, pa.list_(pa.float32())),
                "joined": _with_nulls(rng, [NOW - timedelta(days=i) for i in range(users)], TIME),
                **clocks(users),
            }
        ),
        "items": pa.table(
            {
                "item_id": pa.array(ITEMS),
                "price": _with_nulls(rng, [float(i) / 3 for i in range(items)], pa.float32()),
                "popularity": _with_nulls(rng, [float(i) ** 2 for i in range(items)], pa.float64()),
                "fresh": _with_nulls(rng, [i % 2 == 0 for i in range(items)], pa.bool_()),
                "title": _with_nulls(rng, [f"title {item}" for item in ITEMS], pa.string()),
                "cover": _with_nulls(rng, [bytes([i, 0, 255]) for i in range(items)], pa.binary()),
                "tags": _with_nulls(rng, [["a", "", f"t{i}"][: i % 4] for i in range(items)], pa.list_(pa.string())),
                **clocks(items),
            }
        ),
        "pairs": pa.table(
            {
                "user_id": pa.array([user for user, _ in pairs], pa.int64()),
                "item_id": pa.array([ITEMS[item] for _, item in pairs]),
                "score": _with_nulls(rng, rng.random(len(pairs)).tolist(), pa.float64()),
                "seen": _with_nulls(rng, rng.integers(0, 9, len(pairs)).tolist(), pa.int64()),
                **clocks(len(pairs)),
            }
        ),
    }


def _objects(folder: Path, tables: dict[str, pa.Table]) -> list[Any]:
    from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, RequestSource, ValueType
    from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, String, UnixTimestamp

    def source(name: str) -> FileSource:
        path = folder / f"{name}.parquet"
        pq.write_table(tables[name], path)
        return FileSource(
            name=name,
            path=str(path),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        )

    def view(name: str, entities: list[Entity], ttl: int, **schema: Any) -> FeatureView:
        fields = [Field(name=field, dtype=dtype) for field, dtype in schema.items()]
        pushed = PushSource(name=f"{name}_push", batch_source=source(name))
        return FeatureView(name=name, entities=entities, ttl=timedelta(days=ttl), schema=fields, source=pushed)

    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
    item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
    users = view("users", [user], 0, user_id=Int64, age=Int32, big=Int64, vector=Array(Float32), joined=UnixTimestamp)
    items = view(
        "items",
        [item],
        10,
        item_id=String,
        price=Float32,
        popularity=Float64,
        fresh=Bool,
        title=String,
        cover=Bytes,
        tags=Array(String),
    )
    pairs = view("pairs", [user, item], 0, user_id=Int64, item_id=String, score=Float64, seen=Int64)
    request = RequestSource(name="request", schema=[Field(name="boost", dtype=Float64)])
    boosts = _on_demand("boosts", [pairs, request], "pandas", "boosted", _BOOSTED)
    doubles = _on_demand("doubles", [pairs], "python", "doubled", _DOUBLED)
    roles = [
        users[["age", "big"]].with_name(name).with_join_key_map({"user_id": f"{name}_id"})
        for name in ("author", "reader")
    ]
    services = [
        FeatureService(name="plain", features=[users, items, pairs]),
        FeatureService(name="with_boosts", features=[pairs, items, boosts]),
        FeatureService(name="only_on_demand", features=[boosts, doubles]),
        FeatureService(name="roles", features=roles),
    ]
    return [user, item, users, items, pairs, boosts, doubles, *services]


_BOOSTED = """def boosted(df):
    return df[['score']].fillna(0).add(df['boost'], axis=0).set_axis(['boosted'], axis=1)
"""
_DOUBLED = """def doubled(inputs):
    return {'doubled': [None if seen is None else 2 * seen for seen in inputs['seen']]}
"""


def _on_demand(name: str, sources: list[Any], mode: str, feature: str, text: str) -> Any:
    from feast import Field
    from feast.on_demand_feature_view import OnDemandFeatureView
    from feast.transformation.pandas_transformation import PandasTransformation
    from feast.transformation.python_transformation import PythonTransformation
    from feast.types import Float64, Int64

    scope: dict[str, Any] = {}
    exec(text, scope)
    kind = PandasTransformation if mode == "pandas" else PythonTransformation
    return OnDemandFeatureView(
        name=name,
        sources=sources,
        schema=[Field(name=feature, dtype=Float64 if mode == "pandas" else Int64)],
        feature_transformation=kind(scope[feature], text),
        mode=mode,
    )


@pytest.fixture(scope="session")
def packed_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    tables = _tables()
    return World(_objects(tmp_path_factory.mktemp("sources"), tables), tables)


def _store(folder: Path, world: World, online: dict[str, Any], engine: str) -> FeatureStore:
    from feast import FeatureStore

    config = _config(folder, online)
    config.batch_engine_config = {"type": engine}
    config.materialization_config.pull_latest_features = True
    store = FeatureStore(config=config)
    store.apply(world.objects)
    store.materialize(NOW - timedelta(days=40), NOW)
    return store


@pytest.fixture(scope="session")
def packed_store(packed_world: World, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """The world, materialised by our engine into the packed store; its clock stands at NOW. Read only."""
    online = {"type": PACKED, "path": "online.db", "clock": NOW.isoformat()}
    return _store(tmp_path_factory.mktemp("packed"), packed_world, online, ENGINE)


@pytest.fixture(scope="session")
def redis_store(packed_world: World, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """The same world, materialised by our engine into the packed store in Redis. Read only."""
    online = {"type": REDIS, "url": f"{redis_url}/1", "clock": NOW.isoformat()}
    return _store(tmp_path_factory.mktemp("redis_repo"), packed_world, online, ENGINE)


@pytest.fixture(params=["sqlite", "redis"])
def any_packed_store(request: pytest.FixtureRequest) -> FeatureStore:
    """The world on each of the packed stores in turn. Read only."""
    return request.getfixturevalue("packed_store" if request.param == "sqlite" else "redis_store")


@pytest.fixture(scope="session")
def stock_store(packed_world: World, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """The same world on Feast's own store and engine. Read only."""
    return _store(tmp_path_factory.mktemp("stock"), packed_world, {"type": "sqlite", "path": "online.db"}, "local")
