"""The service over HTTP: answers, the effect of an event, one message per wrong request, who may ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("httpx", reason="FastAPI's test client needs httpx")

from fastapi.testclient import TestClient

from feature_repo.workspace import Workspace
from ranking.serving.app import create

LOOPBACK = ("127.0.0.1", 50_000)
EVENT = {"user": 1, "item": 1, "event_type": "purchase"}
NO_COLUMN = {"rule": "fresh", "params": {"days": 1, "column": "x"}}
BY_CONTEXT = {"rule": "attribute_equals", "params": {"column": "item_brand", "from_context": "brand"}}


@pytest.fixture(scope="module")
def workspace(served: Workspace, copy_of: Callable[[Workspace], Workspace]) -> Workspace:
    return copy_of(served)


@pytest.fixture(scope="module")
def client(workspace: Workspace) -> Iterator[TestClient]:
    with TestClient(create(workspace), client=LOOPBACK, raise_server_exceptions=False) as opened:
        yield opened


def test_recommend_answers_k_items_with_counts_and_times(client: TestClient) -> None:
    answer = client.post("/recommend", json={"user": 1, "k": 5, "reasons": True}).json()
    assert answer["known"]
    assert len(answer["items"]) == answer["counts"]["returned"] == 5
    assert answer["ms"]["total"] > 0
    assert answer["items"][0]["reasons"]["families"]


def test_an_event_changes_the_next_response_and_reaches_the_lake(client: TestClient, workspace: Workspace) -> None:
    before = client.post("/recommend", json={"user": 2, "k": 3}).json()
    first = before["items"][0]["item"]
    [event_type] = workspace.lake.manifest_roles().consuming[:1]
    posted = client.post("/events", json={"events": [{"user": 2, "item": first, "event_type": event_type}]})
    assert posted.json()["online"], posted.text
    after = client.post("/recommend", json={"user": 2, "k": 3}).json()
    assert first not in [one["item"] for one in after["items"]]


def test_rank_similar_and_explain(client: TestClient) -> None:
    ranked = client.post("/rank", json={"user": 1, "items": [1, 2, 3]}).json()
    assert {one["item"] for one in ranked["items"]} <= {1, 2, 3}
    assert client.post("/similar", json={"item": 1, "k": 3}).status_code == 200
    explained = client.get("/explain/1/2").json()
    assert explained["base"] + sum(explained["families"].values()) == pytest.approx(explained["score"], abs=1e-6)


def test_status_pages(client: TestClient) -> None:
    assert client.get("/health").json()["status"] == "ok"
    assert client.get("/ready").json()["status"] == "ready"
    assert "rankhouse_requests" in client.get("/metrics").text
    assert client.get("/docs").status_code == 200


def test_metrics_count_requests_stages_and_events(client: TestClient) -> None:
    def count(name: str) -> float:
        lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
        return float(lines[0].split()[-1]) if lines else 0.0

    names = ['rankhouse_requests_total{endpoint="/recommend",status="200"}']
    names += ['rankhouse_stage_seconds_count{stage="score"}']
    before = [count(name) for name in names]
    client.post("/recommend", json={"user": 1, "k": 1})
    assert [count(name) - old for name, old in zip(names, before, strict=True)] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/recommend", {"user": 1, "k": 0}, 422, "expected 1 to"),
        ("/recommend", {"user": 1, "k": 10**9}, 422, "expected 1 to"),
        ("/recommend", {"user": "anna"}, 422, "whole number"),
        ("/recommend", {"user": 1, "k": "five"}, 422, "body.k"),
        ("/recommend", {"user": 1, "kk": 5}, 422, "kk"),
        ("/recommend", {"user": 1, "rules": [{"rule": "sen"}]}, 422, 'Did you mean "seen"'),
        ("/recommend", {"user": 10**400}, 422, "user"),
        ("/rank", {"user": 1, "items": [-7]}, 404, "-7"),
        ("/rank", {"user": 1, "items": []}, 422, "items"),
        ("/similar", {"item": -7}, 404, "-7"),
        ("/events", {"events": [{"user": 1, "item": -7, "event_type": "purchase"}]}, 404, "-7"),
        ("/events", {"events": [{"user": 1, "item": 1, "event_type": "purchas"}]}, 422, 'Did you mean "purchase"'),
        ("/events", {"events": [{**EVENT, "time": "0001-01-01T00:00:01+03:00"}]}, 422, "from 1970 to now"),
        ("/events", {"events": [{**EVENT, "time": "2999-01-01T00:00:00"}]}, 422, "from 1970 to now"),
        ("/events", {"events": [{**EVENT, "time": "soon"}]}, 422, "body.events.0.time"),
        ("/events", {"events": [{**EVENT, "value": "much"}]}, 422, "body.events.0.value"),
        ("/events", {"events": [{**EVENT, "origin": "mars"}]}, 422, "organic"),
        ("/events", {"events": [EVENT] * 1001}, 422, "at most 1,000"),
        ("/recommend", {"user": 1, "rules": [{"rule": "fresh", "params": {"days": "many"}}]}, 422, "days"),
        ("/recommend", {"user": 1, "rules": [NO_COLUMN]}, 422, "columns"),
        ("/recommend", {"user": 1, "rules": [BY_CONTEXT]}, 422, "context field 'brand'"),
        ("/recommend", {"user": 1, "rules": [BY_CONTEXT], "context": {"brand": 7}}, 422, "item_brand"),
        ("/recommend", {"user": 1, "context": {"brand": ["a"]}}, 422, "context"),
        ("/recommend", {"user": 1, "order": {"kind": "mrm"}}, 422, 'Did you mean "mmr"'),
        ("/recommend", {"user": 1, "order": {"kind": "mmr", "params": {"relevance": 2}}}, 422, "0 to 1"),
        ("/recommend", {"user": 1, "order": {"pin": [-7]}}, 404, "-7"),
        ("/recommend", {"user": 1, "order": {"explore": -1}}, 422, "explore"),
        ("/recommend", {"user": 1, "unfamiliar": 1.5}, 422, "unfamiliar"),
        ("/recommend", {"user": 1, "seed": -1}, 422, "seed"),
        ("/recommend", {"user": 1, "items": [1] * 2001}, 422, "1 to 2,000"),
        ("/recommend", {"user": True}, 422, "user"),
        ("/recommend", [], 422, "body"),
        ("/similar", {"item": 1, "k": 0}, 422, "expected 1 to"),
        ("/nowhere", {}, 404, "Not Found"),
    ],
)
def test_a_wrong_request_gets_one_message(
    client: TestClient, path: str, body: dict | list, status: int, says: str
) -> None:
    response = client.post(path, json=body)
    assert response.status_code == status, response.text
    assert says in response.json()["error"]


def test_bodies_that_are_no_json_or_too_large(client: TestClient) -> None:
    json = {"content-type": "application/json"}
    assert client.post("/recommend", content=b"{", headers=json).status_code == 422
    assert client.post("/recommend", content=b"[" * 100_000, headers=json).status_code in (400, 422)
    assert client.post("/recommend", content=b" " * 10_000_000, headers=json).status_code == 413


def test_unknown_user_is_explained_to_nobody(client: TestClient) -> None:
    assert client.get("/explain/987654/1").status_code == 404
    assert not client.post("/recommend", json={"user": 987654, "k": 2}).json()["known"]


def test_the_key_is_asked_for_where_it_is_set(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = TestClient(create(workspace), client=("192.0.2.1", 1))
    assert stranger.post("/recommend", json={"user": 1}).status_code == 401
    assert stranger.get("/health").status_code == 200
    monkeypatch.setenv("RANKHOUSE_API_KEY", "secret")
    local = TestClient(create(workspace), client=LOOPBACK)
    assert local.post("/recommend", json={"user": 1}).status_code == 401
    assert local.post("/recommend", json={"user": 1}, headers={"X-API-Key": "secret"}).status_code == 503
