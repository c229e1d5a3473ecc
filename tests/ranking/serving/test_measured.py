from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from ranking.serving.measured import Measured
from ranking.serving.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def client(metrics: Metrics) -> TestClient:
    app = FastAPI()
    app.add_middleware(Measured, metrics=metrics)

    @app.get("/health")
    async def health() -> str:
        return "ok"

    @app.get("/explain/{user}")
    async def explain(user: str) -> str:
        raise ValueError(user)

    return TestClient(app, raise_server_exceptions=False)


def counted(metrics: Metrics, endpoint: str, status: str) -> float:
    return metrics.requests.labels(endpoint, status)._value.get()


def test_requests_are_counted_by_endpoint_and_status(client: TestClient, metrics: Metrics) -> None:
    wanted = {("/health", "200"): 2, ("other", "404"): 1, ("/explain", "404"): 1}
    before = {key: counted(metrics, *key) for key in wanted}  # the process counts for every app in it
    for path in ("/health", "/health", "/nothing", "/explain"):
        client.get(path)
    assert {key: counted(metrics, *key) - before[key] for key in wanted} == wanted


def test_a_request_that_fails_is_counted_as_500(client: TestClient, metrics: Metrics) -> None:
    before = counted(metrics, "/explain", "500")
    assert client.get("/explain/7").status_code == 500
    assert counted(metrics, "/explain", "500") == before + 1


def test_what_is_no_request_passes(metrics: Metrics) -> None:
    ran = []
    app = FastAPI()
    app.add_middleware(Measured, metrics=metrics)
    with TestClient(app):
        ran.append("started")
    assert ran == ["started"]
