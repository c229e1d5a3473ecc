"""Feast's own feature server (`feast serve`) over the packed store: reads, pushes, incremental materialisation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("httpx", reason="FastAPI's test client needs httpx")

from fastapi.testclient import TestClient

if TYPE_CHECKING:
    from feast import FeatureStore

NOW = datetime(2026, 1, 31, tzinfo=UTC)
FEATURES = ["users:age", "users:big", "items:price", "items:title", "pairs:seen"]
ROWS = {"user_id": [0, 1, 5, 99], "item_id": ["i0", "é\0☃", "", "unknown"]}


@pytest.fixture
def store(any_config: Any, packed_world: Any) -> FeatureStore:
    from feast import FeatureStore

    own = FeatureStore(config=any_config())
    own.apply(packed_world.objects)
    own.materialize(NOW - timedelta(days=40), NOW)
    return own


@pytest.fixture
def client(store: FeatureStore) -> TestClient:
    from feast.feature_server import get_app

    return TestClient(get_app(store))


def served(client: TestClient) -> dict[str, list]:
    answer = client.post("/get-online-features", json={"features": FEATURES, "entities": ROWS})
    assert answer.status_code == 200, answer.text
    columns = answer.json()
    values = [result["values"] for result in columns["results"]]
    return dict(zip(columns["metadata"]["feature_names"], values, strict=True))


def test_the_server_answers_what_the_store_does(client: TestClient, store: FeatureStore) -> None:
    assert served(client) == store.get_online_features(FEATURES, ROWS).to_dict()
    assert any(value is not None for value in served(client)["age"])


def test_a_push_over_http_is_read_and_an_older_one_is_not(client: TestClient) -> None:
    for age, time in ((71, NOW), (72, NOW - timedelta(days=25))):
        row = {"user_id": [0], "age": [age], "big": [2**53 + 1], "vector": [[0.5]], "joined": [int(NOW.timestamp())]}
        times = {"event_timestamp": [time.isoformat()], "created_timestamp": [time.isoformat()]}
        pushed = client.post("/push", json={"push_source_name": "users_push", "df": {**row, **times}, "to": "online"})
        assert pushed.status_code == 200, pushed.text
        assert served(client)["age"][0] == 71


def test_materialize_incremental_over_http(client: TestClient) -> None:
    before = served(client)
    done = client.post("/materialize-incremental", json={"end_ts": (NOW + timedelta(days=1)).isoformat()})
    assert done.status_code == 200, done.text
    assert served(client) == before
