"""Views over logs that are nothing like MovieLens: built, up to date afterwards, and without a look ahead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.building.leaks import find_leaks
from feature_repo.building.plan import UP_TO_DATE
from feature_repo.building.run import build_features, plan_features
from feature_repo.config import Config
from feature_repo.data_set import DataSet
from feature_repo.discovery import discover
from feature_repo.lake import Lake
from feature_repo.workspace import Workspace

TIMES = pa.timestamp("us", tz="UTC")
SECOND = 1_000_000
# Between events at the least, and how long the log is, both in seconds.
SPACING = {"one day": (1, 86_400), "milliseconds": (0.001, 40 * 86_400), "ten years by day": (86_400, 3_650 * 86_400)}
SPLIT = {"train": [{"quantile": 0.5}], "validation": {"quantile": 0.7}, "test": {"quantile": 0.85}}


@pytest.fixture
def odd_workspace(tmp_path: Path, small_log, write_load, make_config) -> Callable[..., Workspace]:
    """Return a workspace over a log with other times; without attributes it has neither users nor items."""

    def make(times: str, *, strings: bool, attributes: bool) -> Workspace:
        tables, rng = small_log(1, strings=strings), np.random.default_rng(2)
        step, length = SPACING[times]
        start = np.int64(datetime(2014, 3, 1, tzinfo=UTC).timestamp()) * SECOND
        moments = start + (rng.integers(0, round(length / step), tables["events"].num_rows) * step * SECOND).astype(int)
        place = tables["events"].column_names.index("event_timestamp")
        events = tables["events"].set_column(place, "event_timestamp", pa.array(np.sort(moments), TIMES))
        # Of the items that are known, some have no event.
        known = pa.scalar("i'9") if strings else pa.scalar(9)
        events = events.filter(pa.compute.less(events["item_id"], known))
        write_load(Lake(tmp_path), events, *((tables["users"], tables["items"]) if attributes else ()))
        day = datetime(2014, 3, 1, tzinfo=UTC)
        raw = make_config(day, day, day).model_dump(exclude={"split"}, by_alias=True)
        return Workspace(tmp_path, Config.model_validate({**raw, "split": SPLIT}))

    return make


@pytest.mark.parametrize(
    ("times", "strings", "attributes"),
    [
        ("one day", False, True),
        ("milliseconds", True, False),
        ("ten years by day", True, True),
        ("ten years by day", False, False),
    ],
)
def test_views_of_odd_logs(odd_workspace, times: str, strings: bool, attributes: bool) -> None:
    workspace = odd_workspace(times, strings=strings, attributes=attributes)
    build_features(workspace)
    views = discover(DataSet.of(workspace)).computed
    assert ("user_segments" in views) == attributes
    for name in views:
        files = [path for path in workspace.feature_path(name).glob("*.parquet") if path.stem != "empty"]
        # Without items nothing has a category, and so no group and no attribute; what is encoded by earlier weeks and
        # months has nothing to say on the first day.
        needs_items = name in ("item_attributes", "item_encoding", "item_audience", "user_category_affinity")
        needs_weeks = name in ("item_encoding", "item_audience", "user_segments")
        if times != "one day" or not needs_weeks:
            assert bool(files) == (attributes or not needs_items), name
        assert find_leaks(workspace, name, [workspace.periods.test.start]) == []
    assert {plan.reason for plan in plan_features(workspace)} == {UP_TO_DATE}
