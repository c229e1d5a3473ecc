"""A user's row at the beginning of a month: what the groups went for until then, counted in plain Python."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from feature_repo.building.snapshots import workspace_calendar

GROUPS = {number: f"a_group={letter}" for number, letter in enumerate(["x", "y", None, "x"] * 2, start=1) if letter}


def test_a_month_is_encoded_by_the_labels_before_it(small_workspace, oracle) -> None:
    workspace = small_workspace(55)
    rows = oracle.rows(workspace, "user_segments", workspace_calendar(workspace))
    march = datetime(2024, 3, 1, tzinfo=UTC)
    labels = [(GROUPS[e.user], category) for e in oracle.events(workspace)
              if e.weight > 0 and e.time < march and e.user in GROUPS for category in e.categories]  # fmt: skip
    assert {user for (user,) in rows} == set(GROUPS)
    for (user,), versions in rows.items():
        assert [time.day for time, _ in versions] == [1] * len(versions)
        [row] = [row for time, row in versions if time == march]
        group = GROUPS[user]
        own = [category for name, category in labels if name == group]
        every = [category for _, category in labels]
        names = sorted(set(every))
        means = [every.count(name) / len(every) for name in names]
        shares = [(own.count(name) + 100 * mean) / (len(own) + 100) for name, mean in zip(names, means, strict=True)]
        assert row["user_segments"] == [group]
        assert row["user_segment_attributes"] == ["a_group"]
        assert row["user_segment_priors"] == pytest.approx([len(own) / len(every)])
        assert row["segment_categories"] == names
        assert row["segment_category_shares"] == pytest.approx(shares)
        lifts = [share / mean for share, mean in zip(shares, means, strict=True)]
        assert row["segment_category_lifts"] == pytest.approx(lifts)


def test_the_month_itself_does_not_count(small_workspace, oracle) -> None:
    workspace = small_workspace(55)
    rows = oracle.rows(workspace, "user_segments", workspace_calendar(workspace))
    first = min(event.time for event in oracle.events(workspace))
    assert all(time > first and time.day == 1 for versions in rows.values() for time, _ in versions)
