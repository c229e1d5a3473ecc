"""What a posted event changes: the rows that the whole build has for these users at that time, again and again."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.building.snapshots import to_us
from feature_repo.building.transform import RESULT, ViewTransform
from feature_repo.columns import ITEM, USER
from feature_repo.data_set import DataSet
from feature_repo.workspace import Workspace
from ranking.serving import user_log
from ranking.serving.features import FeatureReader
from ranking.serving.journal import Event
from ranking.serving.push import Pusher, stamp_after
from ranking.serving.pushed_rows import PushedRows


@pytest.fixture(scope="module")
def pusher(served: Workspace) -> Pusher:
    return Pusher.open(served, FeatureReader.open(served), PushedRows(served))


def whole(served: Workspace, transform: ViewTransform, posted: pa.Table, users: list[int], stamp: datetime) -> list:
    """Compute the view over everybody's events, and pick the users' rows."""
    with served.connect() as connection:
        connection.register("posted", posted)
        connection.execute("ALTER VIEW events RENAME TO lake_events")
        connection.execute("CREATE TABLE events AS SELECT * FROM lake_events UNION ALL BY NAME SELECT * FROM posted")
        transform.compute(connection, DataSet.of(served), np.array([to_us(stamp)]))
        keys = [key for key in (USER, ITEM) if key in transform.keys]
        listed = ", ".join(map(str, users))
        return connection.execute(f"FROM {RESULT} WHERE {USER} IN ({listed}) ORDER BY {', '.join(keys)}").fetchall()


def test_rows_of_users_are_those_of_the_whole_build(served: Workspace, pusher: Pusher, now: datetime) -> None:
    event_type = next(iter(pusher.roles.targets))
    others = [Event(3, 6, now, event_type), Event(1, 6, now - timedelta(days=3), event_type, 2.0)]
    views = {transform.name for _, transform in pusher.views}
    assert {"user_activity", "user_category_affinity", "user_item"} <= views
    assert not {"user_habits", "user_segments"} & views
    for users, item in (([1], 5), ([2, 7], 6), ([1], 9), ([987_654], 5)):
        events = [Event(user, item, now - timedelta(hours=user % 5), event_type, 4.0) for user in users]
        stamp, log = stamp_after(events, now), pusher._opened()
        posted = pusher._fresh([*others, *events], log.manifest)
        log.fill(set(users), posted)
        for _, transform in pusher.views:
            found = log.rows(transform, stamp)
            keys = [(key, "ascending") for key in (USER, ITEM) if key in transform.keys]
            rows = [tuple(row.values())[:-1] for row in found.sort_by(keys).to_pylist()]
            assert rows == whole(served, transform, posted, users, stamp), (transform.name, users)


def test_a_log_is_made_anew_when_the_lake_changed_or_it_was_filled_often(
    pusher: Pusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = pusher._opened()
    assert pusher._opened() is log
    assert log.spent(None)
    monkeypatch.setattr(user_log, "MOST_FILLS", 0)
    assert pusher._opened() is not log
