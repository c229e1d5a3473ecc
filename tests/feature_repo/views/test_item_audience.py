from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from feature_repo.building.snapshots import workspace_calendar
from feature_repo.data_set import DataSet
from feature_repo.views import item_audience

GROUPS = {number: f"a_group={letter}" for number, letter in enumerate(["x", "y", None, "x"] * 2, start=1) if letter}


def test_matches_the_oracle(small_workspace, oracle) -> None:
    # Week by week: what is visible at a snapshot are the counts of the Monday before it.
    def expected(history):
        monday = history.snapshot.replace(hour=0, minute=0, second=0, microsecond=0)
        monday -= timedelta(days=monday.weekday())
        known = [event for event in history.targets() if event.user in GROUPS and event.time < monday]
        names = sorted({*(GROUPS[event.user] for event in known), *("a_group" for _ in known)})
        if not names:
            return None
        windows = {w: since(known, monday, oracle.days[w]) for w in item_audience.WINDOWS}
        values = {name: [e.value for e in known if e.value is not None and is_of(e, name)] for name in names}
        return {
            "item_segments": names,
            **{f"item_segment_events_{w}": [sum(is_of(e, name) for e in events) for name in names]
               for w, events in windows.items()},
            "item_segment_value_mean": [float(np.mean(v)) if v else None for v in values.values()],
        }  # fmt: skip

    oracle.check(small_workspace(53), "item_audience", lambda event: (event.item,), expected)


def since(events: list, end: datetime, days: int | None) -> list:
    return [event for event in events if days is None or event.time >= end - timedelta(days=days)]


def is_of(event, name: str) -> bool:
    return name in ("a_group", GROUPS[event.user])


def test_counts_every_category_attribute(small_workspace, small_log, oracle) -> None:
    tables = small_log(53)
    users = tables["users"]
    lands = ["de", "fr", None, "de", "fr", "de", None, "it"]
    lands = [lands[number % len(lands)] for number in range(users.num_rows)]
    workspace = small_workspace(56, tables={**tables, "users": users.append_column("a_land", pa.array(lands))})
    rows = oracle.rows(workspace, "item_audience", workspace_calendar(workspace))
    assert {
        name.split("=")[0] for versions in rows.values() for _, row in versions for name in row["item_segments"]
    } == {"a_group", "a_land"}
    for versions in rows.values():
        for _, row in versions:
            counts = dict(zip(row["item_segments"], row["item_segment_events_all"], strict=True))
            for attribute in ("a_group", "a_land"):
                groups = [count for name, count in counts.items() if name.startswith(f"{attribute}=")]
                assert sum(groups) == counts.get(attribute, 0)


def test_left_out_without_categories(small_workspace, small_log) -> None:
    tables = small_log(53)
    workspace = small_workspace(54, tables={"events": tables["events"], "items": tables["items"]})
    assert item_audience.define(DataSet.of(workspace)) is None
