"""What an evaluation found: one model and every ranking that it builds on, on the test window; kept as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from feature_repo.errors import MissingError
from ranking.comparison import Difference
from ranking.json_file import write_json

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

TWO_STAGE: Final = "two-stage"
UNION: Final = "union"


@dataclass(frozen=True)
class Line:
    """One line of the report: means over the judged users, None for what the data does not tell.

    `recalls` by depth, "all" among them for what stage one gives; `difference`: two-stage minus this ranking (None for
    two-stage itself).
    """

    name: str
    metrics: dict[str, float | None]
    recalls: dict[str, float]
    difference: Difference | None = None


@dataclass(frozen=True)
class Part:
    """Two-stage and the best single source on some of the users, or on some of the relevant items.

    `by`, `name`: what is told apart and its value; `two_stage`, `source`: their metrics over the `users` judged there.
    """

    by: str
    name: str
    users: int
    two_stage: dict[str, float]
    source: dict[str, float]
    difference: Difference


@dataclass(frozen=True)
class Evaluation:
    """The report of one model on its test window. Times are ISO 8601 in UTC.

    `differences`: two-stage minus the best single source by headline metric, first the one that sources are ordered by.
    """

    model: str
    test_start: str
    test_end: str
    k: int
    users: int
    pairs: int
    catalogue: int
    validation: dict[str, float]
    lines: list[Line]
    differences: list[Difference]
    parts: list[Part]

    @property
    def difference(self) -> Difference:
        return self.differences[0]

    def line(self, name: str) -> Line:
        return next(line for line in self.lines if line.name == name)

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        raw = json.loads(text)
        return cls(
            **raw
            | {
                "lines": [Line(**_with_difference(line)) for line in raw["lines"]],
                "differences": [Difference(**found) for found in raw["differences"]],
                "parts": [Part(**_with_difference(part)) for part in raw["parts"]],
            }
        )


def report_path(workspace: Workspace) -> Path:
    """Where the latest report lies."""
    return workspace.data_dir / "reports" / "evaluation.json"


def write_report(report: Evaluation, path: Path) -> None:
    """Write the report as JSON, atomically."""
    write_json(path, report)


def read_report(workspace: Workspace) -> Evaluation:
    """Return the latest report; raise MissingError where nothing was evaluated yet."""
    path = report_path(workspace)
    if not path.exists():
        raise MissingError(path, expected="a report", got="none", fix="Run `rankhouse evaluate` first.")
    return Evaluation.from_json(path.read_text(encoding="utf-8"))


def _with_difference(raw: dict[str, Any]) -> dict[str, Any]:
    found = raw["difference"]
    return raw | {"difference": None if found is None else Difference(**found)}
