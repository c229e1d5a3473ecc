"""The served log: what is drawn, what a full queue does, and that an orderly stop leaves nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

import pyarrow.parquet as pq
import pytest

from feature_repo import store
from feature_repo.errors import MissingError
from feature_repo.workspace import Workspace
from ranking.serving import served_log
from ranking.serving.metrics import Metrics
from ranking.serving.path import RequestPath
from ranking.serving.request import Ask
from ranking.serving.served_log import ServedLog


def with_log(workspace: Workspace, share: float, seed: int = 0) -> Workspace:
    serving = workspace.config.serving.model_copy(update={"log_share": share, "log_seed": seed})
    return Workspace(workspace.data_dir, workspace.config.model_copy(update={"serving": serving}))


@pytest.fixture
def workspace(served: Workspace, copy_of: Callable[[Workspace], Workspace]) -> Workspace:
    workspace = with_log(copy_of(served), 1.0)
    store.apply(workspace)
    return workspace


def logged_users(workspace: Workspace) -> list[int]:
    paths = sorted((workspace.lake.root / "served").rglob("*.parquet"))
    ids = [row for path in paths for row in pq.read_table(path, columns=["__request_id", "user_id"]).to_pylist()]
    return [user for _, user in sorted({(row["__request_id"], row["user_id"]) for row in ids})]


def test_an_orderly_stop_writes_everything(workspace: Workspace, now: datetime) -> None:
    path, order = RequestPath.open(workspace), []
    log = ServedLog(workspace, Metrics(), before_write=lambda: order.append(logged_users(workspace)))
    log.start()
    for user in (5, 6, 7):
        assert log.offer(path.answer(Ask(user, 3), now)[1], path)
    log.stop()
    assert logged_users(workspace) == [5, 6, 7]
    assert order == [[]], "what rows were read from is flushed before they are written, once per batch"
    assert not log.offer(path.answer(Ask(8, 3), now)[1], path), "nothing is taken after the stop"
    assert not [name for name in (workspace.lake.root / "served").rglob(".*") if name.is_file()]


def test_a_full_queue_drops_and_counts(workspace: Workspace, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    path, gate = RequestPath.open(workspace), threading.Event()
    monkeypatch.setattr(served_log, "MOST_WAITING", 2)
    metrics = Metrics()
    log = ServedLog(workspace, metrics)
    whole = log._rows
    monkeypatch.setattr(log, "_rows", lambda *entry: gate.wait() and whole(*entry))
    log.start()
    scored = path.answer(Ask(5, 3), now)[1]
    taken = [log.offer(scored, path) for _ in range(8)]
    assert 2 <= sum(taken) <= 3
    gate.set()
    log.stop()
    assert len(logged_users(workspace)) == sum(taken)
    assert f"rankhouse_log_dropped_total {8 - sum(taken)}.0" in metrics.text().decode()


def test_the_draw_depends_on_the_seed_alone(workspace: Workspace, now: datetime) -> None:
    path = RequestPath.open(workspace)
    scored = path.answer(Ask(5, 3), now)[1]

    def drawn(seed: int) -> list[bool]:
        log = ServedLog(with_log(workspace, 0.3, seed), Metrics())
        log.start()
        taken = [log.offer(scored, path) for _ in range(60)]
        log.stop()
        return taken

    assert drawn(1) == drawn(1) != drawn(2)
    assert 8 <= sum(drawn(1)) <= 30


def test_nothing_is_logged_by_default(served: Workspace, path: RequestPath, now: datetime) -> None:
    log = ServedLog(served, Metrics())
    log.start()
    assert not log.offer(path.answer(Ask(5, 3), now)[1], path)
    log.stop()


def test_a_service_that_is_not_logged_is_named(
    workspace: Workspace, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = RequestPath.open(workspace)
    opened = path.reader.reader.store
    service = opened.get_feature_service(workspace.config.service)
    service.logging_config = None
    monkeypatch.setattr(opened, "get_feature_service", lambda *_, **__: service)
    with pytest.raises(MissingError, match="rankhouse apply"):
        served_log._Target.of(path)
