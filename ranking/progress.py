"""Progress on the terminal: one bar per kind of work, on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from candidate_gen.pipeline import Progress as OnProgress


@contextmanager
def shown_progress(prefix: str = "") -> Iterator[OnProgress]:
    """Yield a callback (what, done, total) that draws bars until the block ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, int] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(f"{prefix}{what}", total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show
