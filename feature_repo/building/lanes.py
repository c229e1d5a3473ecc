"""Views computed side by side: what one of them cannot do in several threads, another one's thread makes up for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from feature_repo.lake import new_connection, quote

if TYPE_CHECKING:
    import duckdb

    from feature_repo.config import EngineConfig
    from feature_repo.workspace import Workspace

ROOM: Final = 1 << 24
"""Events that the engine's memory holds: a lane for every time that it holds those of a view."""
MOST: Final = 4
"""Beyond it a lane's memory gets small, and there are hardly more views of much work."""
_LIMIT: Final = re.compile(r"([0-9.]+) ?(.*)")


@dataclass(frozen=True)
class Lanes:
    """So many views at a time, each with a share of the engine's threads and memory. Rows do not depend on it."""

    count: int
    threads: int

    @classmethod
    def of(cls, engine: EngineConfig, events: int, views: int) -> Lanes:
        """Choose lanes for so many events that a view holds; many leave memory for a single view."""
        threads = engine.threads or _usual_threads(engine)
        count = max(1, min(threads, views, MOST, ROOM // max(events, 1)))
        return cls(count, max(1, threads // count))

    @contextmanager
    def connect(self, workspace: Workspace, view: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the lake for one view, within a lane's bounds; what it spills lies in a folder of its own."""
        engine = workspace.config.engine
        bounds = {"threads": self.threads, "memory_limit": share(engine.memory_limit, self.count)}
        config = workspace.config.model_copy(update={"engine": engine.model_copy(update=bounds)})
        spill = workspace.data_dir / "spill" / view
        spill.parent.mkdir(parents=True, exist_ok=True)  # DuckDB makes the last folder of a path only
        with replace(workspace, config=config).connect() as connection:
            connection.execute(f"SET temp_directory = {quote(str(spill))}")
            yield connection


def share(limit: str, count: int) -> str:
    """Return one of so many equal parts of a limit of memory.

    >>> share("4GB", 2), share("80%", 4)
    ('2GB', '20%')
    """
    number, unit = _LIMIT.fullmatch(limit).groups()
    return f"{float(number) / count:g}{unit}"


def _usual_threads(engine: EngineConfig) -> int:
    """Return how many threads DuckDB takes by itself."""
    with new_connection(engine) as connection:
        return connection.execute("SELECT current_setting('threads')").fetchone()[0]
