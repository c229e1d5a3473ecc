"""Views computed side by side: as many as the log leaves memory for, with the bytes of one at a time."""

from __future__ import annotations

import pytest

from feature_repo.building.lanes import ROOM, Lanes, share
from feature_repo.building.run import build_features
from feature_repo.config import EngineConfig
from feature_repo.errors import ContractError
from feature_repo.workspace import Workspace


def built(workspace: Workspace) -> dict[str, bytes]:
    root = workspace.data_dir / "features"
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.parquet"))}


def with_threads(workspace: Workspace, threads: int) -> Workspace:
    engine = EngineConfig(memory_limit="1.5GB", threads=threads)
    return Workspace(workspace.data_dir, workspace.config.model_copy(update={"engine": engine}))


@pytest.mark.parametrize(
    ("threads", "events", "views", "wanted"),
    [
        (2, 1_000, 9, Lanes(2, 1)),
        (8, 1_000, 9, Lanes(4, 2)),
        (8, 1_000, 1, Lanes(1, 8)),
        (2, ROOM // 2 + 1, 9, Lanes(1, 2)),
        (2, 10 * ROOM, 9, Lanes(1, 2)),
        (1, 0, 0, Lanes(1, 1)),
    ],
)
def test_lanes_share_threads_where_the_log_is_small(threads: int, events: int, views: int, wanted: Lanes) -> None:
    assert Lanes.of(EngineConfig(threads=threads), events, views) == wanted


@pytest.mark.parametrize(("limit", "wanted"), [("4GB", "2GB"), ("1.5 GiB", "0.75GiB"), ("80%", "40%")])
def test_a_lane_has_its_share_of_the_memory(limit: str, wanted: str) -> None:
    assert share(limit, 2) == wanted


def test_a_lane_connects_within_its_bounds(small_workspace) -> None:
    workspace = with_threads(small_workspace(3), 4)
    with Lanes(2, 2).connect(workspace, "user_item") as connection:
        read = "SELECT current_setting('threads'), current_setting('temp_directory')"
        settings = list(connection.execute(read).fetchone())
        assert connection.execute("SELECT count(*) > 0 FROM events").fetchone() == (True,)
    assert settings == [2, str(workspace.data_dir / "spill" / "user_item")]


def test_the_number_of_lanes_changes_no_byte(small_workspace) -> None:
    workspace = small_workspace(6)
    found = []
    for threads in (1, 4):
        build_features(with_threads(workspace, threads))
        found.append(built(workspace))
        for path in (workspace.data_dir / "features").glob("*/state.json"):
            path.unlink()
    assert found[0] == found[1]


def test_a_view_that_fails_side_by_side_is_named(small_workspace, monkeypatch) -> None:
    workspace = with_threads(small_workspace(6), 2)
    text = "SELECT nothing FROM own_events"
    monkeypatch.setattr("feature_repo.building.view_sql.ViewSql.code", text)
    with pytest.raises(ContractError, match="nothing"):
        build_features(workspace)
