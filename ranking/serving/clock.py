"""What time it is for a request: the declared clock, moved on by the events that were posted since.

<data dir>/journal/clock.json    {"now": the stamp of the newest posted event's rows}
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from feature_repo.lake import JOURNAL, POSTED_CLOCK
from feature_repo.stores.packed_clock import DATA, Clock

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ServingClock:
    """The wall clock for a live data set; for a closed one the later of the online store's clock and the last event."""

    def __init__(self, workspace: Workspace) -> None:
        self._wall = workspace.config.now == "wall-clock"
        self._start = workspace.now
        self._store = Clock(DATA, workspace.data_dir / "clock.json")
        self._path = workspace.data_dir / JOURNAL / POSTED_CLOCK
        self._posted = Clock(DATA, self._path)

    def now(self) -> datetime:
        """Return the time of a request, UTC."""
        if self._wall:
            return datetime.now(UTC)
        times = [
            _EPOCH + timedelta(microseconds=clock.now()) for clock in (self._store, self._posted) if clock.path.exists()
        ]
        return max(times, default=self._start)

    def move(self, stamp: datetime) -> None:
        """Let no request be answered as of an earlier time than this; only one process at a time may call it."""
        if self._path.exists() and _EPOCH + timedelta(microseconds=self._posted.now()) >= stamp:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(f"{self._path}.tmp")
        temporary.write_text(json.dumps({"now": stamp.isoformat()}) + "\n", encoding="utf-8")
        os.replace(temporary, self._path)
