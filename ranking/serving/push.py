"""What an event changes online at once: the rows of its user, computed by the SQL of the views over the user's log.

Every view that is keyed by the user (alone or with the item) and needs no events of others gets the row that a snapshot
just after the event has, and `user_history` the item in front. Views of items, those that also count what others do,
and those that change by the week or the month follow with the next build.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.building.transform import ViewTransform
from feature_repo.columns import CONSUMING, CREATED, TARGET_WEIGHT, TIME, USER
from feature_repo.data_set import DataSet
from feature_repo.discovery import discover, sql_path
from feature_repo.first_stage import HISTORY_ITEMS, HISTORY_TIMES, HISTORY_WEIGHTS, USER_HISTORY, cut_column
from ranking.serving.features import FeatureReader
from ranking.serving.journal import Event, event_table
from ranking.serving.pushed_rows import PushedRows
from ranking.serving.user_log import UserLog, from_own_events

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

    from feature_repo.config import Roles
    from feature_repo.lake import Manifest
    from feature_repo.workspace import Workspace

HISTORY: Final = 50
_TIMES: Final = pa.timestamp("us", tz="UTC")


@dataclass
class Pusher:
    """Writes the rows of users to the online store and to `offline`; `views` are those that it computes.

    For one thread at a time.
    """

    workspace: Workspace
    reader: FeatureReader
    views: Sequence[tuple[FeatureView, ViewTransform]]
    roles: Roles
    offline: PushedRows
    _log: UserLog | None = None

    @classmethod
    def open(cls, workspace: Workspace, reader: FeatureReader, offline: PushedRows) -> Pusher:
        views = []
        for view in discover(DataSet.of(workspace)).computed.values():
            transform = ViewTransform.of(view, sql_path(view.name))
            if USER in transform.keys and from_own_events(transform.sql):
                views.append((view, transform))
        return cls(workspace, reader, views, workspace.lake.roles(workspace.config), offline)

    def push(self, posted: Sequence[Event], pending: Sequence[Event], stamp: datetime) -> None:
        """Write the rows of the users of `posted` as of `stamp`; `pending`: what the lake does not have yet."""
        users = {event.user for event in posted}
        log = self._opened()
        log.fill(users, self._fresh(pending, log.manifest))
        store = self.reader.reader.store
        for view, transform in self.views:
            self._write(store, view, log.rows(transform, stamp))
        history = self._histories(posted, stamp)
        if history is not None:
            self._write(store, self._history_view, history)

    @cached_property
    def _history_view(self) -> FeatureView:
        return self.reader.reader.store.get_feature_view(USER_HISTORY, allow_registry_cache=True)

    def _write(self, store: FeatureStore, view: FeatureView, rows: pa.Table) -> None:
        """Write rows for both stores, for the offline one first: nobody is to see what training will not."""
        if rows.num_rows:
            self.offline.add(view.name, rows)
            store._get_provider().online_store.write_table(store.config, view, rows)

    def _opened(self) -> UserLog:
        """Return the log of users over the lake as it is now."""
        manifest = self.workspace.lake.manifest()
        if self._log is None or self._log.spent(manifest):
            if self._log is not None:
                self._log.close()
            self._log = UserLog(self.workspace, manifest)
        return self._log

    def _fresh(self, own: Sequence[Event], manifest: Manifest) -> pa.Table:
        fresh = event_table(own, manifest)
        weights = [self.roles.targets.get(event.event_type, 0.0) for event in own]
        seen = [event.event_type in self.roles.consuming for event in own]
        fresh = fresh.append_column(TARGET_WEIGHT, pa.array(weights, pa.float64()))
        return fresh.append_column(CONSUMING, pa.array(seen, pa.bool_()))

    def _histories(self, posted: Sequence[Event], stamp: datetime) -> pa.Table | None:
        """Return the users' histories with their newly liked items in front; None where the store keeps none."""
        if USER_HISTORY not in self.reader.views:
            return None
        liked: dict[int | str, list[Event]] = {}
        for event in sorted(posted, key=lambda one: one.time, reverse=True):
            if self.roles.targets.get(event.event_type, 0.0) > 0:
                liked.setdefault(event.user, []).append(event)
        if not liked:
            return None
        manifest = self.workspace.lake.manifest()
        cut = cut_column(USER_HISTORY)
        kinds = {"int64": pa.int64(), "string": pa.string()}
        users = pa.array(list(liked), kinds[manifest.user_id_type])
        columns = (HISTORY_ITEMS, HISTORY_TIMES, HISTORY_WEIGHTS, cut)
        old = self.reader.read(columns, {USER: users}, stamp)
        lists = [old.array(name).to_pylist() for name in columns[:3]]
        merged = [
            self._merged(events, list(zip(*(part or () for part in parts), strict=True)))
            for events, *parts in zip(liked.values(), *lists, strict=True)
        ]
        item = pa.list_(kinds[manifest.item_id_type])
        times = pc.floor_temporal(pa.array([time for row in merged for _, time, _ in row], _TIMES), unit="second")
        offsets = pa.array(np.concatenate([[0], np.cumsum([len(row) for row in merged])]), pa.int32())
        stamps = pa.array([stamp] * len(users), _TIMES)
        return pa.table(
            {
                USER: users,
                TIME: stamps,
                CREATED: stamps,
                HISTORY_ITEMS: pa.array([[one[0] for one in row] for row in merged], item),
                HISTORY_TIMES: pa.ListArray.from_arrays(offsets, times),
                HISTORY_WEIGHTS: pa.array([[one[2] for one in row] for row in merged], pa.list_(pa.float32())),
                cut: old.array(cut),
            }
        )

    def _merged(self, events: Sequence[Event], old: Sequence[tuple]) -> list[tuple]:
        """Return distinct (item, time, weight), latest first, at most as many as stage one keeps."""
        fresh = [(event.item, event.time, self.roles.targets[event.event_type]) for event in events]
        by_item: dict[int | str, tuple] = {}
        for entry in [*fresh, *old]:
            by_item.setdefault(entry[0], entry)
        return sorted(by_item.values(), key=lambda entry: entry[1], reverse=True)[:HISTORY]


def stamp_after(events: Sequence[Event], now: datetime) -> datetime:
    """Return the time that the rows of posted events carry: just after the last of them, and not before now."""
    return max(now, *(event.time for event in events)) + timedelta(microseconds=1)
