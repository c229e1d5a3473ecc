from __future__ import annotations

from datetime import UTC, datetime

import pyarrow.parquet as pq

from feature_repo.building.run import build_features
from feature_repo.data_set import DataSet
from feature_repo.discovery import discover
from feature_repo.lake import ALWAYS


def test_rows_are_stamped_when_they_were_known(small_workspace) -> None:
    workspace = small_workspace(0)
    build_features(workspace, ["item_attributes", "user_attributes"])
    items = pq.read_table(workspace.feature_path("item_attributes")).sort_by("item_id").to_pylist()
    assert len(items) == 12
    assert items[1] == {
        "item_id": 2,
        "event_timestamp": ALWAYS,
        "item_categories": ["b"],
        "item_categories_count": 1,
        "item_title_length": 7,
        "item_released_at": datetime(2023, 5, 1, tzinfo=UTC),
        "item_a_price": None,
        "created_timestamp": ALWAYS,
    }
    users = pq.read_table(workspace.feature_path("user_attributes")).sort_by("user_id").to_pylist()
    assert [row["user_a_group"] for row in users] == ["x", "y", None, "x"] * 2


def test_a_data_set_without_users_items_and_categories(small_workspace, small_log) -> None:
    workspace = small_workspace(9, tables={"events": small_log(9)["events"]})
    names = set(discover(DataSet.of(workspace)).computed)
    assert "user_attributes" not in names
    build_features(workspace)
    for name in ("item_attributes", "user_category_affinity"):
        assert pq.read_table(workspace.feature_path(name)).num_rows == 0
