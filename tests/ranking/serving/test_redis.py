"""Serving from the packed store in Redis: the same answers as from SQLite, and 503 where the server is gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import yaml
from fastapi.testclient import TestClient

from feature_repo import store
from feature_repo.errors import UnreachableError
from feature_repo.workspace import Workspace
from ranking.serving.app import create
from ranking.serving.journal import Event
from ranking.serving.path import RequestPath
from ranking.serving.push import Pusher, stamp_after
from ranking.serving.pushed_rows import PushedRows
from ranking.serving.request import Ask

REDIS = "feature_repo.stores.online_redis.PackedRedisOnlineStore"


@pytest.fixture
def on_redis(
    served: Workspace,
    copy_of: Callable[[Workspace], Workspace],
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Workspace:
    """The served world with an online store in Redis, filled from the same views."""
    from redis import Redis

    with Redis.from_url(f"{redis_url}/3") as client:
        client.flushdb()
    settings = yaml.safe_load((store.REPO / "feature_store.yaml").read_text())
    settings["online_store"] = {"type": REDIS, "url": f"{redis_url}/3"}
    (tmp_path / "feature_store.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setattr(store, "REPO", tmp_path)
    workspace = copy_of(served)
    for name in ("clock.json", "online_store.db"):
        (workspace.data_dir / name).unlink()
    store.materialize(workspace)
    return workspace


def test_answers_and_pushes_are_those_of_sqlite(
    on_redis: Workspace, path: RequestPath, now: datetime, served: Workspace
) -> None:
    own = RequestPath.open(on_redis)
    own.warm_up()
    for user in (1, 7, 42, 987_654):
        ours, scored = own.answer(Ask(user, 10), now)
        theirs, expected = path.answer(Ask(user, 10), now)
        assert ours.items == theirs.items
        assert ours.counts == theirs.counts
        if expected is not None:
            np.testing.assert_array_equal(scored.matrix, expected.matrix)
    assert not (on_redis.data_dir / "online_store.db").exists()
    first = own.answer(Ask(1, 10), now)[0].items[0].item
    event = Event(1, first, now, next(iter(on_redis.lake.roles(on_redis.config).targets)))
    Pusher.open(on_redis, own.reader, PushedRows(on_redis)).push([event], [event], stamp_after([event], now))
    assert first not in [one.item for one in own.answer(Ask(1, 10), stamp_after([event], now))[0].items]
    served.export()


def test_a_store_that_does_not_answer_is_no_fault_of_the_request(
    served: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise UnreachableError("the online store", expected="an answer", got="none", fix="Start the server.")

    with TestClient(create(served), client=("127.0.0.1", 1)) as client:
        monkeypatch.setattr(RequestPath, "answer", gone)
        refused = client.post("/recommend", json={"user": 1})
    assert refused.status_code == 503
    assert refused.json()["error"].endswith("Start the server.")
