"""Days with cuts lie apart from their month, and a cut that moves within its day leaves the month's file alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from feature_repo.building.layout import CUTS, MOST, Layout
from feature_repo.building.run import build_features
from feature_repo.building.snapshots import DAY, to_us
from feature_repo.building.state import ViewState
from feature_repo.workspace import Workspace


def test_a_cut_and_the_midnight_after_it_lie_apart() -> None:
    midnights = np.arange(10, 60) * DAY
    layout = Layout.of(np.union1d(midnights, [20 * DAY + 5, 30 * DAY - 1]))
    names = layout.files([19, 20, 21, 22, 29, 30, 31])
    assert names == {
        "1970-01.parquet": [19, 22],
        "1970-01-cuts.parquet": [20, 21, 29, 30],
        "1970-02.parquet": [31],
    }


def test_only_the_latest_days_lie_apart() -> None:
    assert Layout.of(np.arange(100) * DAY + 1).apart.tolist() == list(range(101 - MOST, 101))
    assert len(Layout.of(np.arange(100) * DAY).apart) == 0


def cuts(*times: tuple[int, int]) -> list[datetime]:
    return [datetime(2024, 2, day, hour, 5, tzinfo=UTC) for day, hour in times]


def files(workspace: Workspace) -> dict[str, tuple[bytes, int]]:
    folder = workspace.data_dir / "features"
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_ino) for path in folder.rglob("*.parquet")
    }


@pytest.mark.parametrize(
    ("moved", "months"),
    [
        (cuts((10, 9), (20, 15), (28, 1)), False),
        (cuts((11, 7), (20, 15), (28, 1)), True),
        (cuts((5, 7), (20, 2), (28, 1)), True),
        (cuts((10, 7), (11, 3), (12, 1)), True),
    ],
)
def test_moved_cuts_leave_the_bytes_of_a_backfill(small_workspace, make_config, moved, months: bool) -> None:
    views = ["user_activity", "item_popularity", "user_category_affinity", "user_item"]
    workspace = small_workspace(41)
    workspace = replace(workspace, config=make_config(*cuts((10, 7), (20, 15), (28, 1))))
    build_features(workspace, views)
    old = files(workspace)
    later = replace(workspace, config=make_config(*moved))
    assert not any(plan.whole for plan in build_features(later, views))
    found = files(later)
    assert any(CUTS not in name and old.get(name) != found[name] for name in found) is months
    for view in views:
        ViewState.forget(later.feature_path(view))
    build_features(later, views)
    wanted = files(later)
    assert {name: content for name, (content, _) in found.items()} == {
        name: content for name, (content, _) in wanted.items()
    }
    assert to_us(moved[0]) // DAY in Layout.of(np.array([to_us(time) for time in moved])).apart
