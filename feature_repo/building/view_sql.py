"""A view's SQL file: its statements, the windows it names, the tables it reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from feature_repo.building.moments import RARE
from feature_repo.errors import MissingError

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_NAME = re.compile(r"CREATE TEMP VIEW\s+\"?(\w+)", re.IGNORECASE)
_WINDOW = re.compile(r"\b(?:in|leaving)_(\d+)d\b")


@dataclass(frozen=True)
class ViewSql:
    """The text of `views/NAME.sql`."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> ViewSql:
        if not path.exists():
            raise MissingError(
                path, expected="the SQL that computes the view", got="no file", fix=f"Write it beside {path.stem}.py."
            )
        return cls(path, path.read_text(encoding="utf-8"))

    @cached_property
    def digest(self) -> str:
        return sha256(self.text.encode()).hexdigest()

    @cached_property
    def code(self) -> str:
        """The text without its comments."""
        return _COMMENT.sub(" ", self.text)

    @cached_property
    def windows(self) -> tuple[int, ...]:
        """The windows in days that the SQL names: in_7d, leaving_7d."""
        return tuple(sorted({int(days) for days in _WINDOW.findall(self.code)}))

    @cached_property
    def on_calendar(self) -> bool:
        """True where rows are stamped with snapshots, False where they carry times of their own."""
        return self.reads("changes", "snapshots", *RARE)

    @cached_property
    def moments(self) -> list[str] | None:
        """The relations of rare moments at which alone the SQL has rows, None where it sees every snapshot."""
        if self.reads("changes", "snapshots"):
            return None
        return [name for name in RARE if self.reads(name)] or None

    @cached_property
    def in_parts(self) -> bool:
        """True where what is computed for a key needs no events of other keys: the log is made of `own_events`."""
        return self.reads("own_events") or (self.reads("changes") and not self.reads("events"))

    @cached_property
    def steady(self) -> bool:
        """True where a key without an event that enters or leaves a window from one time to another has one state."""
        return self.in_parts and self.reads("changes") and not self.reads("snapshots", *RARE)

    @staticmethod
    def split(views: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
        """Split statements before the first one that reads `changes`, which are made of the views until then."""
        place = next((at for at, view in enumerate(views) if re.search(r"\bchanges\b", view)), len(views))
        return views[:place], views[place:]

    @staticmethod
    def apart(views: Sequence[str]) -> set[int]:
        """Return the places of those statements that read `own_events` neither themselves nor by a view before them."""
        own, found = ["own_events"], set()
        for place, statement in enumerate(views):
            name = _NAME.match(statement)[1]
            if name != "log" and not any(re.search(rf"\b{read}\b", statement) for read in own):
                found.add(place)
            else:
                own.append(name)
        return found

    def reads(self, *names: str) -> bool:
        return any(re.search(rf"\b{name}\b", self.code) for name in names)
