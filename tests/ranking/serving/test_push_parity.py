"""After events the service's columns of their users are the same offline and online, and after a refresh."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from feature_repo import store
from feature_repo.on_demand.columns import REQUEST_TIME
from feature_repo.stores.bulk import BulkReader
from feature_repo.workspace import Workspace
from ranking.refresh import refresh
from ranking.serving.clock import ServingClock
from ranking.serving.events import EventSink
from ranking.serving.features import FeatureReader
from ranking.serving.journal import Event

USERS = range(1, 13)
TIMES = pa.timestamp("us", tz="UTC")


def pairs_of(workspace: Workspace) -> pa.Table:
    """Every item for users who acted and for some who did not."""
    with workspace.connect() as connection:
        items = connection.sql("SELECT DISTINCT item_id FROM items ORDER BY ALL").to_arrow_table()["item_id"].to_numpy()
    users = np.array([*USERS, 40, 41, 987_654])
    return pa.table({"user_id": np.repeat(users, len(items)), "item_id": np.tile(items, len(users))})


def differences(workspace: Workspace, moment: datetime) -> tuple[dict[str, int], int]:
    """Compare every column of the service at a moment; return rows that differ by column, and how many columns."""
    service, pairs = workspace.config.service, pairs_of(workspace)
    stamps = pa.array([moment] * pairs.num_rows, TIMES)
    offline = store.historical_features(workspace, pairs.append_column("event_timestamp", stamps), service)
    online = BulkReader(store.open_store(workspace)).features(service, pairs, {REQUEST_TIME: moment})
    found = {}
    for name in online.column_names[2:]:
        left, right = (column.to_pylist() for column in (offline[name], online[name].cast(offline[name].type)))
        found[name] = sum(one != other for one, other in zip(left, right, strict=True))
    return {name: rows for name, rows in found.items() if rows}, len(found)


@pytest.fixture(scope="module")
def pushed(served: Workspace, copy_of: Callable[[Workspace], Workspace]) -> Iterator[tuple[Workspace, datetime]]:
    """A workspace after several pushes, some of one user, some late, and the time of the last."""
    workspace = copy_of(served)
    store.apply(workspace)
    clock, reader = ServingClock(workspace), FeatureReader.open(workspace)
    sink, types = EventSink(workspace, clock), sorted(workspace.lake.manifest_roles().consuming)
    for number, user in enumerate([*USERS, *USERS]):
        time = clock.now() - timedelta(hours=3 * (number % 4))
        event = Event(user, 1 + (number * 7) % 80, time, types[number % len(types)])
        assert sink.take([event], reader).online
    sink.flush()
    return workspace, clock.now()


def test_columns_agree_after_pushes(pushed: tuple[Workspace, datetime]) -> None:
    workspace, moment = pushed
    found, columns = differences(workspace, moment)
    assert found == {}
    assert columns > 90


def test_columns_agree_after_the_next_refresh(pushed: tuple[Workspace, datetime]) -> None:
    workspace, _ = pushed
    later = Workspace(workspace.data_dir, workspace.config, workspace.config_path)
    refresh(later)
    found, _ = differences(later, ServingClock(later).now())
    assert found == {}
