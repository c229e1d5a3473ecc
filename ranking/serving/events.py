"""Taking events in: checked, on disk, online; in the lake after a while."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Final

from feature_repo.errors import DataError, FutureError, RankhouseError
from ranking.serving.catalogue import Catalogue
from ranking.serving.clock import ServingClock
from ranking.serving.features import FeatureReader
from ranking.serving.journal import Event, Journal, checked_type
from ranking.serving.push import Pusher, stamp_after
from ranking.serving.pushed_rows import PushedRows

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace
    from ranking.serving.schemas import EventBody

FLUSH_EVENTS: Final = 5_000
FLUSH_SECONDS: Final = 60.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    """What became of posted events: on disk, and (`online`) in the rows that the next request reads."""

    accepted: int
    online: bool
    stamp: datetime
    ms: dict[str, float]


class EventSink:
    """One process's way in for events; safe to share between threads."""

    def __init__(self, workspace: Workspace, clock: ServingClock) -> None:
        self._workspace, self._clock = workspace, clock
        self._journal = Journal(workspace.lake)
        self._lock = threading.Lock()
        self._first = 0.0
        self._waiting = 0
        self._pusher: tuple[FeatureReader, Pusher] | None = None
        self.pushed = PushedRows(workspace)
        self._types = _event_types(workspace)

    def start(self) -> int:
        """Bring what earlier processes left behind into the lake; return how many events that were."""
        self.pushed.recover()
        return self._journal.recover()

    def checked(self, bodies: Sequence[EventBody], catalogue: Catalogue) -> list[Event]:
        """Return events with ids of the data's types; raises DataError or MissingError for the first fault."""
        most = self._workspace.config.serving.max_events
        if len(bodies) > most:
            raise DataError(
                "the events",
                expected=f"at most {most:,} in one request",
                got=f"{len(bodies):,}",
                fix="Send less at once.",
            )
        now = self._clock.now()
        latest = max(now, datetime.now(UTC))
        return [self._event(body, catalogue, now, latest) for body in bodies]

    def take(self, events: Sequence[Event], reader: FeatureReader) -> Taken:
        """Accept events: when this returns they are on disk, and online unless the store could not be written."""
        start = perf_counter()
        with self._lock:
            if not self._waiting:
                self._first = monotonic()
            self._waiting = self._journal.append(events)
            written = perf_counter()
            stamp = stamp_after(events, self._clock.now())
            online = self._push(events, reader, stamp)
            pushed = perf_counter()
        ms = {"write": round((written - start) * 1e3, 3), "push": round((pushed - written) * 1e3, 3)}
        return Taken(len(events), online, stamp, ms)

    def flush_if_due(self) -> int:
        """Bring accepted events into the lake where they are many or old enough; return how many."""
        due = self._waiting >= FLUSH_EVENTS or (self._waiting and monotonic() - self._first > FLUSH_SECONDS)
        return self.flush() if due else 0

    def flush(self) -> int:
        """Bring every accepted event of this process into the lake; return how many."""
        with self._lock:
            # First the rows: a build that sees the events has to know what was pushed for them.
            self.pushed.flush()
            moved = self._journal.flush()
            self._waiting = 0
            return moved

    def _push(self, events: Sequence[Event], reader: FeatureReader, stamp: datetime) -> bool:
        import sqlite3

        import duckdb

        try:
            if self._pusher is None or self._pusher[0] is not reader:
                self._pusher = (reader, Pusher.open(self._workspace, reader, self.pushed))
            self._pusher[1].push(events, self._journal.pending(), stamp)
            self._clock.move(stamp)
        except (RankhouseError, sqlite3.Error, duckdb.Error) as error:
            _log.error("accepted events are not online before the next refresh: %s", error)
            return False
        return True

    def _event(self, body: EventBody, catalogue: Catalogue, now: datetime, latest: datetime) -> Event:
        time = now if body.time is None else _utc(body.time)
        if time is None or not _EPOCH <= time <= latest:
            raise FutureError(
                "the time of an event",
                expected=f"a time from 1970 to now ({latest:%Y-%m-%d %H:%M:%S} UTC)",
                got=str(body.time),
                fix="Correct the time or its zone.",
            )
        return Event(
            catalogue.user(body.user),
            catalogue.item(body.item),
            time,
            checked_type(body.event_type, self._types),
            body.value,
            checked_origin(body.origin),
        )


def _utc(time: datetime) -> datetime | None:
    """Return a time in UTC, None where that is outside of the calendar: 0001-01-01 east of Greenwich."""
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        return None


def checked_origin(origin: str | None) -> str | None:
    """Return where an event came from; raises DataError for a word that the lake does not know."""
    if origin in (None, "organic", "recommended"):
        return origin
    raise DataError("the origin", expected="organic, recommended or nothing", got=repr(origin)[:120], fix="Correct it.")


def _event_types(workspace: Workspace) -> set[str]:
    """The types that the log has or the roles name."""
    roles = workspace.lake.roles(workspace.config)
    with workspace.connect() as connection:
        found = {row[0] for row in connection.execute("SELECT DISTINCT event_type FROM events").fetchall()}
    return found | set(roles.targets) | set(roles.consuming)
