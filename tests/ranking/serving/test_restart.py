"""What outlasts the process: events that a killed server had accepted; and items that came after the model."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.columns import ITEM
from feature_repo.config import OrderConfig
from feature_repo.lake import Load
from feature_repo.workspace import Workspace
from ranking.serving.path import RequestPath
from ranking.serving.request import EXPLORATION, Ask

httpx = pytest.importorskip("httpx", reason="the server is asked through httpx")
sys.path.insert(0, str(Path(__file__).parents[3] / "scripts" / "benchmarks"))

import serve_http  # noqa: E402

NEW = 987_654


def test_a_killed_server_loses_no_accepted_event(served: Workspace, copy_of: Callable[[Workspace], Workspace]) -> None:
    workspace = copy_of(served)
    [event_type] = workspace.lake.manifest_roles().consuming[:1]
    before = events_of(workspace)
    with serve_http.serving(workspace, workers=1) as server:
        items = [one["item"] for one in asked(server, "/recommend", {"user": 2, "k": 3})["items"]]
        for item in items:
            posted = asked(server, "/events", {"events": [{"user": 2, "item": item, "event_type": event_type}]})
            assert posted["accepted"] == 1
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(30)
    assert events_of(workspace) == before
    with serve_http.serving(workspace, workers=1) as server:
        assert events_of(workspace) == before + len(items)
        again = asked(server, "/recommend", {"user": 2, "k": 10})["items"]
        assert not {one["item"] for one in again} & set(items)


def test_a_new_item_is_recommended_after_load_and_materialize(
    served: Workspace,
    copy_of: Callable[[Workspace], Workspace],
    rankhouse: Callable[..., tuple[int, str]],
    now: datetime,
) -> None:
    workspace = copy_of(served)
    loaded(workspace, NEW)
    status, printed = rankhouse(workspace, "materialize")
    assert status == 0, printed
    path = RequestPath.open(workspace)
    answer, _ = path.answer(Ask(1, 1, items=(NEW,)), now)
    assert [one.item for one in answer.items] == [NEW]
    assert np.isfinite(answer.items[0].score)
    answer, _ = path.answer(Ask(1, 10, order=OrderConfig(explore=10)), now)
    assert NEW in [one.item for one in answer.items if one.sources == (EXPLORATION,)]


def asked(server: serve_http.Server, path: str, body: dict) -> dict:
    return httpx.post(server.url + path, json=body, timeout=60).raise_for_status().json()


def events_of(workspace: Workspace) -> int:
    """Return how many events the lake has."""
    return sum(load.rows.get("events", 0) for load in workspace.lake.manifest().loads)


def loaded(workspace: Workspace, item: int) -> None:
    """Bring one more item into the lake: the attributes of another one under its own id, and no event."""
    lake = workspace.lake
    manifest = lake.manifest()
    [first] = [file for load in manifest.loads for file in load.files.get("items", [])][:1]
    row = pq.read_table(lake.root / first).slice(0, 1)
    row = row.set_column(row.column_names.index(ITEM), ITEM, pa.array([item], row.schema.field(ITEM).type))
    file = f"items/{len(manifest.loads) + 1:06}.parquet"
    pq.write_table(row, lake.root / file)
    load = Load("one more item", str(datetime.now(UTC)), {"items": 1}, {"items": [file]})
    lake.commit(replace(manifest, loads=(*manifest.loads, load)))
