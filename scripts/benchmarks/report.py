"""What every benchmark reports: rows of one shape, as a table on the terminal and as JSON.

    rows = [Row("1M spine", "time", "s", ours=median(ours), peer=median(theirs), peer_name="polars")]
    show("pit", rows)
    write_json(rows, Path("pit.json"))

Cases and metrics keep their names from run to run, so that runs can be compared.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

__all__ = ["Row", "median", "show", "timed", "write_json"]


@dataclass(frozen=True)
class Row:
    """One measured figure beside one peer's; `peer` is None where there is none (or where it did not finish)."""

    case: str
    metric: str
    unit: str
    ours: float
    peer: float | None = None
    peer_name: str | None = None
    better: Literal["lower", "higher"] = "lower"

    @property
    def ratio(self) -> float | None:
        """How many times better ours is; above 1 is better."""
        if self.peer is None or not self.ours or not self.peer:
            return None
        return self.peer / self.ours if self.better == "lower" else self.ours / self.peer

    def as_json(self) -> dict[str, str | float | None]:
        return {
            "case": self.case,
            "metric": self.metric,
            "unit": self.unit,
            "ours": self.ours,
            "peer": self.peer,
            "peer_name": self.peer_name,
            "ratio": self.ratio,
        }


def show(title: str, rows: Sequence[Row], notes: Sequence[str] = ()) -> None:
    """Print the rows as a table, with notes below it."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in ("case", "metric", "unit"):
        table.add_column(name)
    for name in ("ours", "peer"):
        table.add_column(name, justify="right")
    table.add_column("peer name")
    table.add_column("ratio", justify="right")
    for row in rows:
        figures = (_figure(row.ours), _figure(row.peer))
        table.add_row(row.case, row.metric, row.unit, *figures, row.peer_name or "", _figure(row.ratio))
    console = Console(width=None if os.isatty(1) else 120)
    console.print(table)
    for note in notes:
        console.print(note, markup=False)


def write_json(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as one JSON list, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps([row.as_json() for row in rows], indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and processor seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu
