"""The calendar of a workspace: midnights, the configured cuts, the cuts that stage one was run at, served times, now.

Times are int64 microseconds since 1970 UTC here: calendars are compared, not shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from feature_repo.columns import CUT, TIME
from feature_repo.first_stage import CANDIDATES
from feature_repo.lake import new_connection, quote
from feature_repo.periods import calendar

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
DAY: Final = 86_400_000_000
CLOCK_FILE: Final = "clock.json"


def to_us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def from_us(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=int(microseconds))


def workspace_calendar(workspace: Workspace, cuts: Iterable[datetime] = ()) -> np.ndarray:
    """Return the snapshot times, ascending: those of the configuration, of the entity table, and `cuts`."""
    first, _ = workspace.lake.time_range()
    extra = {*workspace.periods.cuts, *entity_table_cuts(workspace), *served_times(workspace), *cuts}
    table = calendar(first, workspace.now, tuple(sorted(extra)))
    return table[TIME].cast("int64").to_numpy()


def entity_table_cuts(workspace: Workspace) -> list[datetime]:
    """Return the cuts for which candidates have been written."""
    files = sorted(workspace.feature_path(CANDIDATES).rglob("*.parquet"))
    if not files:
        return []
    listed = ", ".join(quote(str(path)) for path in files)
    with new_connection(workspace.config.engine) as connection:
        rows = connection.execute(
            f"SELECT DISTINCT {CUT} FROM read_parquet([{listed}], hive_partitioning = false) WHERE {CUT} IS NOT NULL"
        ).fetchall()
    return [row[0].astimezone(UTC) for row in rows]


def served_times(workspace: Workspace) -> list[datetime]:
    """Return the times at which the online store was brought up to date (see feature_repo.store)."""
    path = workspace.data_dir / CLOCK_FILE
    if not path.exists():
        return []
    return [datetime.fromisoformat(text) for text in json.loads(path.read_text(encoding="utf-8")).get("served", [])]
