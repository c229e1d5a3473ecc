"""A new model, a load or a refresh is taken over behind the requests; what can't be opened leaves the old one there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

pytest.importorskip("httpx", reason="FastAPI's test client needs httpx")

from fastapi.testclient import TestClient

from feature_repo.workspace import Workspace
from ranking import model_store
from ranking.service import service_columns
from ranking.serving import current
from ranking.serving.app import create

LOOPBACK = ("127.0.0.1", 50_000)
PATIENCE = 120.0


@pytest.fixture
def workspace(served: Workspace, copy_of: Callable[[Workspace], Workspace]) -> Workspace:
    return copy_of(served)


@pytest.fixture
def client(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(current, "POLL_SECONDS", 0.05)
    with TestClient(create(workspace), client=LOOPBACK) as opened:
        yield opened


def save_second(workspace: Workspace) -> str:
    """Save a model with fewer trees, which makes it the current one."""
    manifest = model_store.read_manifest(workspace)
    model = model_store.load(workspace, service_columns(workspace, manifest.service))
    return model_store.save(workspace, replace(manifest, name="second"), model.booster, 2).name


def wait_until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not ready() and time.monotonic() < end:
        time.sleep(0.05)
    assert ready()


def test_a_new_model_is_taken_over_without_dropping_a_request(workspace: Workspace, client: TestClient) -> None:
    answers: list[list[tuple[int, str]]] = [[], []]
    stop = threading.Event()

    def ask(found: list[tuple[int, str]], user: int) -> None:
        while not stop.is_set():
            response = client.post("/recommend", json={"user": user, "k": 3})
            found.append((response.status_code, response.json().get("model", response.text)))

    threads = [threading.Thread(target=ask, args=(found, 1 + user)) for user, found in enumerate(answers)]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(len(found) > 2 for found in answers))
    first, second = model_store.current(workspace), save_second(workspace)
    wait_until(lambda: all(found[-1][1] == second for found in answers))
    stop.set()
    for thread in threads:
        thread.join()
    for found in answers:
        assert {status for status, _ in found} == {200}
        models = [model for _, model in found]
        assert models == [first] * models.count(first) + [second] * models.count(second)
    assert client.get("/ready").json() == {"status": "ready", "model": second, "problem": None}
    assert "rankhouse_model_takeovers_total 1.0" in client.get("/metrics").text


def test_a_model_that_can_not_be_opened_leaves_the_old_one(workspace: Workspace, client: TestClient) -> None:
    first = model_store.current(workspace)
    second = save_second(workspace)
    wait_until(lambda: client.get("/ready").json()["model"] == second)
    (workspace.models_path / first / model_store.TREES).write_text("no trees")
    model_store.rollback(workspace)
    wait_until(lambda: client.get("/ready").json()["problem"] is not None)
    assert client.get("/ready").json()["status"] == "ready"
    assert client.post("/recommend", json={"user": 1, "k": 3}).json()["model"] == second
    model_store.promote(workspace, second)
    wait_until(lambda: client.get("/ready").json()["problem"] is None)


def test_without_a_model_nothing_is_ready_until_there_is_one(
    served: Workspace, copy_of: Callable[[Workspace], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current, "POLL_SECONDS", 0.05)
    workspace = copy_of(served)
    name = model_store.current(workspace)
    (workspace.models_path / model_store.CURRENT).unlink()
    with TestClient(create(workspace), client=LOOPBACK) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503
        refused = client.post("/recommend", json={"user": 1})
        assert refused.status_code == 503
        assert "rankhouse train" in refused.json()["error"]
        model_store.promote(workspace, name)
        wait_until(lambda: client.get("/ready").status_code == 200)
