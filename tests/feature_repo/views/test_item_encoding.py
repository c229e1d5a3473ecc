"""An item's row at the beginning of a week: what became of the items of its groups until then, in plain Python."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from feature_repo.building.snapshots import from_us, workspace_calendar

CATEGORIES = [["a", "b"], ["b"], ["c", "a", "d"], None, [], ["d"]] * 2


def test_a_week_is_encoded_by_the_labels_before_it(small_workspace, oracle) -> None:
    workspace = small_workspace(56)
    calendar = workspace_calendar(workspace)
    rows = oracle.rows(workspace, "item_encoding", calendar)
    events = oracle.events(workspace)
    groups = {number: names for number, names in enumerate(CATEGORIES, start=1) if names}
    assert {item for (item,) in rows} == set(groups)
    mondays = [time for time in map(from_us, calendar) if time.weekday() == 0 and time.hour == time.minute == 0]
    assert len(mondays) > 4
    for monday in mondays:
        window = [e for e in events if monday - timedelta(days=30) <= e.time < monday]
        targets = {item: sum(e.item == item and e.weight > 0 for e in window) for item in range(1, 13)}
        shown = {item: sum(e.item == item for e in window) for item in range(1, 13)}
        labels = {item: math.log(1 + count) for item, count in targets.items()}
        mean, rate = sum(labels.values()) / 12, sum(targets.values()) / max(sum(shown.values()), 1)
        popularity, rates = {}, {}
        for name in "abcd":
            members = [item for item, names in groups.items() if name in names]
            popularity[name] = (sum(labels[item] for item in members) + 10 * mean) / (len(members) + 10)
            rates[name] = (sum(targets[i] for i in members) + 100 * rate) / (sum(shown[i] for i in members) + 100)
        for (item,), versions in rows.items():
            visible = [row for time, row in versions if time <= monday][-1]
            for values, feature in ((popularity, "popularity"), (rates, "rate")):
                own = [values[name] for name in groups[item]]
                assert visible[f"item_group_{feature}_max"] == pytest.approx(max(own), rel=1e-4)
                assert visible[f"item_group_{feature}_mean"] == pytest.approx(sum(own) / len(own), rel=1e-4)
