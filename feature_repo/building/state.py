"""What a view's files were computed from: written after them, removed before they change."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Self

FILE: Final = "_state.json"
# Raise it where the runner itself changes what it writes: every view is then built anew.
FORMAT: Final = 2


@dataclass(frozen=True)
class ViewState:
    """Digests of SQL, schema and event roles, the loads that were read, and the snapshots (microseconds, ascending).

    `rewrites` counts the builds that changed rows at or before the snapshot that was the last one until then.
    """

    sql: str
    schema: str
    roles: str
    loads: tuple[str, ...]
    snapshots: tuple[int, ...]
    rewrites: int = 0
    format: int = FORMAT

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the state of a view's folder, None where it was never built or a build was cut short."""
        path = folder / FILE
        if not path.exists():
            return None
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.get("format") != FORMAT:
            return None
        return cls(**{**raw, "loads": tuple(raw["loads"]), "snapshots": tuple(raw["snapshots"])})

    @staticmethod
    def why_none(folder: Path) -> str:
        """Say why a folder has no state that can be read."""
        return "its files are of another version" if (folder / FILE).exists() else "never built"

    def write(self, folder: Path) -> None:
        temporary = folder / f"{FILE}.tmp"
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        temporary.write_text(json.dumps(own) + "\n", encoding="utf-8")
        os.replace(temporary, folder / FILE)

    @staticmethod
    def forget(folder: Path) -> None:
        (folder / FILE).unlink(missing_ok=True)
