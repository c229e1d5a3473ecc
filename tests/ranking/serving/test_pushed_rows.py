"""Pushed rows reach the offline store once their process flushes them, or the next process does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.building.parts import PUSHED
from feature_repo.config import load_config
from feature_repo.lake import JOURNAL
from feature_repo.workspace import Workspace
from ranking.serving.pushed_rows import PushedRows

STAMPS = pa.array([datetime(2024, 2, 1, 12, tzinfo=UTC)], pa.timestamp("us", tz="UTC"))
ROWS = pa.table({"user_id": [7], "event_timestamp": STAMPS, "events": [3], "created_timestamp": STAMPS})


@pytest.fixture
def small(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, load_config())


def written(workspace: Workspace, view: str = "user_view") -> list[dict]:
    paths = sorted((workspace.feature_path(view) / PUSHED).glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def streams(workspace: Workspace) -> list[Path]:
    return list((workspace.data_dir / JOURNAL).glob("*.arrows"))


def test_rows_wait_in_a_stream_and_then_lie_in_the_views_folder(small: Workspace) -> None:
    pushed = PushedRows(small)
    pushed.add("user_view", ROWS)
    pushed.add("user_view", ROWS)
    assert written(small) == []
    assert len(streams(small)) == 1
    assert pushed.flush() == 2
    assert written(small) == ROWS.to_pylist() * 2
    assert streams(small) == []
    assert pushed.flush() == 0


def test_rows_of_a_killed_process_are_brought_over_whole(small: Workspace) -> None:
    gone = PushedRows(small)
    gone.add("user_view", ROWS)
    gone.add("user_view", ROWS)
    [path] = streams(small)
    data = path.read_bytes()
    assert PushedRows(small).recover() == 0, "a living process keeps its rows"
    gone._streams["user_view"].close()
    path.write_bytes(data[:-10])
    assert PushedRows(small).recover() == 1
    assert written(small) == ROWS.to_pylist()
    assert streams(small) == []


def test_nothing_but_a_head_is_nothing(small: Workspace) -> None:
    gone = PushedRows(small)
    gone.add("user_view", ROWS)
    [path] = streams(small)
    gone._streams["user_view"].close()
    path.write_bytes(path.read_bytes()[:7])
    assert PushedRows(small).recover() == 0
    assert streams(small) == []
