"""No view looks ahead, and the test that says so finds each kind of leak that is planted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

import feature_repo.building.leaks as leaks
import feature_repo.views
from feature_repo.building.leaks import find_leaks
from feature_repo.discovery import sql_path
from feature_repo.lake import Lake
from feature_repo.loading import LoadOptions, load_source
from feature_repo.workspace import Workspace

VIEWS = tuple(sorted(path.stem for path in Path(feature_repo.views.__file__).parent.glob("*.sql")))
ML_100K = Path(__file__).parents[3].parent / "shared" / "data" / "ml-100k"


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_leaks(small_workspace, view) -> None:
    workspace = small_workspace(21)
    moments = [workspace.periods.train[0].start, workspace.periods.test.start, datetime(2024, 2, 15, tzinfo=UTC)]
    assert find_leaks(workspace, view, moments) == []


@pytest.mark.skipif(not ML_100K.exists(), reason="MovieLens 100k is not beside the repo")
def test_no_view_leaks_on_movielens(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    load_source(str(ML_100K), lake, LoadOptions())
    workspace = Workspace.open(tmp_path)
    for view in VIEWS:
        assert find_leaks(workspace, view, [workspace.periods.train[0].start, workspace.periods.test.start]) == []


@pytest.mark.parametrize(
    ("kind", "select"),
    [
        (
            "<= instead of <",
            "SELECT user_id, snapshots.event_timestamp, count(*) AS user_targets_all FROM events, snapshots "
            "WHERE events.event_timestamp <= snapshots.event_timestamp GROUP BY ALL",
        ),
        (
            "a label window",
            "SELECT user_id, snapshots.event_timestamp, sum(CAST(target_weight > 0 AS INTEGER)) AS user_targets_all "
            "FROM events, snapshots WHERE events.event_timestamp < snapshots.event_timestamp + INTERVAL 7 DAY "
            "GROUP BY ALL",
        ),
        (
            "a statistic over the whole log",
            "SELECT user_id, snapshots.event_timestamp, count(*) * (SELECT count(*) FROM events) AS user_targets_all "
            "FROM events, snapshots WHERE events.event_timestamp < snapshots.event_timestamp GROUP BY ALL",
        ),
        (
            "attributes that nobody knew",
            "SELECT user_id, snapshots.event_timestamp, count(DISTINCT len(categories)) AS user_targets_all "
            "FROM events JOIN items USING (item_id) "
            "JOIN snapshots ON events.event_timestamp < snapshots.event_timestamp GROUP BY ALL",
        ),
    ],
)
def test_a_planted_leak_is_found(small_workspace, tmp_path, monkeypatch, kind, select) -> None:
    honest = sql_path("user_activity").read_text()
    leaky = honest.replace("targets_all AS user_targets_all", "planted.user_targets_all")
    leaky = leaky.replace(
        "FROM running_totals", f"FROM running_totals LEFT JOIN ({select}) AS planted USING (user_id, event_timestamp)"
    )
    path = tmp_path / "user_activity.sql"
    path.write_text(leaky)
    monkeypatch.setattr(leaks, "sql_path", lambda _view: path)
    workspace = small_workspace(22)
    found = find_leaks(workspace, "user_activity", [workspace.periods.test.start])
    assert found, kind
    assert found[0].columns == ("user_targets_all",)
