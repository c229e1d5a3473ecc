"""What `now` is for the online store, from which a view's ttl is counted.

`clock` in the store's configuration: `data` is the time in `<data dir>/clock.json` ({"now": "2026-01-31T00:00:00Z"})
where that file exists, as the loader of a closed data set writes it, and the wall clock elsewhere; `wall` is always
the wall clock; an ISO time is that time.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from feature_repo.errors import ConfigError

DATA: Final = "data"
WALL: Final = "wall"
FILE_NAME: Final = "clock.json"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Clock:
    """A declared clock; the file is read again when it changes."""

    setting: str
    path: Path
    _seen: tuple[int, int] | None = field(default=None, init=False)
    _file_now: int = field(default=0, init=False)
    _fixed: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.setting not in (DATA, WALL):
            self._fixed = microseconds(self.setting, "online_store.clock in feature_store.yaml")

    def now(self) -> int:
        """Return the time in microseconds since 1970, UTC."""
        if self._fixed is not None:
            return self._fixed
        if self.setting == DATA:
            try:
                status = self.path.stat()
            except FileNotFoundError:
                return time.time_ns() // 1000
            mark = (status.st_mtime_ns, status.st_ino)
            if mark != self._seen:
                self._file_now, self._seen = self._read(), mark
            return self._file_now
        return time.time_ns() // 1000

    def _read(self) -> int:
        try:
            text = json.loads(self.path.read_text())["now"]
        except (ValueError, KeyError, TypeError) as problem:
            raise ConfigError(
                self.path,
                expected='{"now": "<ISO time>"}',
                got=f"{type(problem).__name__}: {problem}",
                fix="Correct the file or remove it.",
            ) from problem
        return microseconds(text, str(self.path))


def microseconds(text: object, where: str) -> int:
    """Read an ISO time, UTC where it names no zone, as microseconds since 1970; raises ConfigError for another text.

    >>> microseconds("1970-01-01T00:00:01Z", "here")
    1000000
    """
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError) as problem:
        raise ConfigError(
            where, expected="`data`, `wall` or an ISO time", got=repr(text), fix='For example "2026-01-31T00:00:00Z".'
        ) from problem
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
