"""The slow obvious version: every view's values at every snapshot, from the events before it, in plain Python."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from feature_repo.building.snapshots import from_us, workspace_calendar
from feature_repo.building.transform import RESULT, ViewTransform
from feature_repo.data_set import DataSet
from feature_repo.discovery import discover, sql_path
from feature_repo.workspace import Workspace


@dataclass(frozen=True)
class Event:
    user: Hashable
    item: Hashable
    time: datetime
    kind: str
    value: float | None
    weight: float
    consuming: bool
    categories: tuple[str, ...] = ()


class History(list[Event]):
    """Events of one key before a snapshot."""

    def __init__(self, events: Iterable[Event], snapshot: datetime) -> None:
        super().__init__(events)
        self.snapshot = snapshot

    def window(self, days: int | None) -> History:
        if days is None:
            return self
        return History([e for e in self if e.time >= self.snapshot - timedelta(days=days)], self.snapshot)

    def targets(self) -> History:
        return History([e for e in self if e.weight > 0], self.snapshot)

    def mean(self) -> float | None:
        values = [e.value for e in self if e.value is not None]
        return float(np.mean(values)) if values else None

    def seconds_mean(self) -> datetime | None:
        seconds = [int(e.time.timestamp() // 1) for e in self]
        return datetime.fromtimestamp(sum(seconds) // len(seconds), UTC) if seconds else None

    def spread(self) -> float | None:
        values = [e.value for e in self if e.value is not None]
        return float(np.std(values)) if values else None


Expected = Callable[[History], dict[str, Any] | None]


@pytest.fixture(scope="session")
def oracle() -> SimpleNamespace:
    """Names that the tests of single views share."""
    days = {"1d": 1, "7d": 7, "30d": 30, "90d": 90, "all": None}
    return SimpleNamespace(check=_check, days=days, whole=_whole, rows=_rows, events=_events)


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _check(workspace: Workspace, view: str, key: Callable[[Event], tuple], expected: Expected) -> None:
    """Compare a view's visible row of each key at each snapshot with the oracle's."""
    snapshots = workspace_calendar(workspace)
    rows = _rows(workspace, view, snapshots)
    events = _events(workspace)
    compared = 0
    for owner in sorted({key(event) for event in events}, key=repr):
        own = [event for event in events if key(event) == owner]
        versions = rows.pop(owner, [])
        times = [time for time, _ in versions]
        for snapshot in map(from_us, snapshots):
            place = bisect_right(times, snapshot) - 1
            visible = versions[place][1] if place >= 0 else None
            history = History([event for event in own if event.time < snapshot], snapshot)
            wanted = expected(history) if history else None
            assert (visible is None) == (wanted is None), (owner, snapshot, visible, wanted)
            if wanted is not None and visible is not None:
                _same(visible, wanted, (owner, snapshot))
                compared += len(wanted)
    assert not rows
    assert compared > 1000


def _same(visible: dict[str, Any], wanted: dict[str, Any], where: object) -> None:
    assert set(wanted) <= set(visible)  # a feature that a user has just added needs no line here
    for name, value in wanted.items():
        found = visible[name]
        if isinstance(value, list):
            assert len(found) == len(value), (where, name)
            pairs = list(zip(found, value, strict=True))
        else:
            pairs = [(found, value)]
        for left, right in pairs:
            close = isinstance(right, float) and left is not None and np.isclose(left, right, rtol=1e-5, atol=1e-6)
            assert close or left == right, (where, name, found, value)


def _rows(workspace: Workspace, view: str, snapshots: np.ndarray) -> dict[tuple, list[tuple[datetime, dict]]]:
    data = DataSet.of(workspace)
    transform = ViewTransform.of(discover(data).computed_view(view), sql_path(view))
    with workspace.connect() as connection:
        transform.compute(connection, data, snapshots)
        table = connection.sql(f"FROM {RESULT} ORDER BY event_timestamp").to_arrow_table()
    found: dict[tuple, list] = {}
    for row in table.to_pylist():
        time = row.pop("event_timestamp")
        found.setdefault(tuple(row.pop(name) for name in transform.keys), []).append((time, row))
    return found


def _events(workspace: Workspace) -> list[Event]:
    with workspace.connect() as connection:
        rows = connection.sql(
            "SELECT user_id, events.item_id, events.event_timestamp, event_type, value, target_weight, consuming, "
            "categories FROM events LEFT JOIN items ON items.item_id = events.item_id ORDER BY 3, 1, 2"
        ).to_arrow_table()
    return [
        Event(*row[:-1], tuple(row[-1] or ())) for row in zip(*(rows[i].to_pylist() for i in range(8)), strict=True)
    ]
