"""What has to be computed for a view, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from feature_repo.building.moments import MOMENTS
from feature_repo.building.snapshots import DAY, from_us, to_us
from feature_repo.building.state import ViewState
from feature_repo.building.view_sql import ViewSql
from feature_repo.columns import TIME
from feature_repo.lake import Load, new_connection, parquet

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

NEVER: Final = 1 << 62
UP_TO_DATE: Final = "up to date"


@dataclass(frozen=True)
class Plan:
    """The work on one view.

    `affected`: snapshots whose rows are computed; `bases`: their predecessors that stay, from which the computation
    starts; `removed`: snapshots that are no more; `dropped`: those whose stored rows go, the removed ones and what is
    computed again. All int64 microseconds, ascending. `whole`: every file is replaced. `target`: the state afterwards.
    `moved` (pairs, 2): snapshots and those that take their places. A key with no event between the two, be it one that
    enters or one that leaves a window, keeps its rows there, under the new stamp: dropped are those of other keys.
    `stored`: the snapshots of the files that are there.
    """

    view: str
    reason: str
    affected: np.ndarray
    bases: np.ndarray
    removed: np.ndarray
    dropped: np.ndarray
    target: ViewState
    whole: bool = False
    moved: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.int64))
    stored: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def is_empty(self) -> bool:
        return not self.whole and len(self.affected) == 0 and len(self.removed) == 0

    @property
    def calendar(self) -> np.ndarray:
        """The snapshots that the SQL sees."""
        return np.union1d(self.affected, self.bases)


def plan_view(
    view: str,
    old: ViewState | None,
    target: ViewState,
    log_change: int,
    *,
    steady: bool = False,
    why_none: str = "never built",
) -> Plan:
    """Compare what a view was built from with what it should be built from.

    `log_change`: see the function of that name; a snapshot from then on is computed again. A target without snapshots
    is a view with times of its own. `steady`: see `ViewSql.steady`. `why_none`: why there is no old state.
    """
    new = np.asarray(target.snapshots, np.int64)
    nothing = new[:0]
    if old is None:
        return Plan(view, why_none, new, nothing, nothing, nothing, target, whole=True)
    reason = _why_from_scratch(old, target, log_change)
    if reason is not None:
        rewritten = replace(target, rewrites=old.rewrites + 1)
        return Plan(view, reason, new, nothing, nothing, nothing, rewritten, whole=True)
    if not len(new):
        return Plan(view, UP_TO_DATE, nothing, nothing, nothing, nothing, target)
    known = np.asarray(old.snapshots, np.int64)
    affected = ~np.isin(new, known) | (_predecessors(new) != _predecessors_in(known, new)) | (new >= log_change)
    bases = new[:-1][affected[1:] & ~affected[:-1]]
    removed = np.setdiff1d(known, new)
    again = bool((new[affected] <= known[-1]).any() or len(removed))
    return Plan(
        view,
        _why(new[affected], removed, known[-1], log_change),
        new[affected],
        bases,
        removed,
        np.union1d(np.intersect1d(new[affected], known), removed),
        replace(target, rewrites=old.rewrites + again),
        moved=_moved(known, new, log_change) if steady and len(bases) else _pairs([], []),
        stored=known,
    )


def _moved(known: np.ndarray, new: np.ndarray, log_change: int) -> np.ndarray:
    """Pair snapshots that went with those that came between the same two that stay, and the later of these with itself.

    Only where as many came as went, within one day, and the later one is not computed again for its events.
    """
    stay, gone, came = np.intersect1d(known, new), np.setdiff1d(known, new), np.setdiff1d(new, known)
    room = len(stay) + 1
    gone_to, came_to = np.searchsorted(stay, gone), np.searchsorted(stay, came)
    alike = np.bincount(gone_to, minlength=room) == np.bincount(came_to, minlength=room)
    alike[0] = alike[-1] = False
    alike[:-1] &= stay < log_change
    alike[1:-1] &= stay[1:] - stay[:-1] <= DAY
    gone, came = gone[alike[gone_to]], came[alike[came_to]]
    closing = stay[np.unique(came_to[alike[came_to]])]
    return _pairs([*gone, *closing], [*came, *closing])


def _pairs(old: Sequence[int], new: Sequence[int]) -> np.ndarray:
    return np.array([old, new], np.int64).T


def _predecessors(times: np.ndarray) -> np.ndarray:
    return np.concatenate([[-1], times[:-1]])


def _predecessors_in(known: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return for each time the latest known snapshot before it, -1 where there is none."""
    place = np.searchsorted(known, times)
    return np.where(place > 0, known[np.maximum(place - 1, 0)], -1)


def _why_from_scratch(old: ViewState, target: ViewState, log_change: int) -> str | None:
    if not target.snapshots and log_change < NEVER:
        return "its table has new rows"
    if old.sql != target.sql:
        return "its SQL changed"
    if old.schema != target.schema:
        return "its schema changed"
    if old.roles != target.roles:
        return "the event roles changed"
    if target.loads[: len(old.loads)] != old.loads:
        return "the lake was loaded anew"
    return None


def _why(affected: np.ndarray, removed: np.ndarray, last: int, log_change: int) -> str:
    if not len(affected) and not len(removed):
        return UP_TO_DATE
    if log_change < last:
        return f"events since {from_us(log_change):%Y-%m-%d %H:%M:%S} arrived late"
    past = int((affected <= last).sum()) + len(removed)
    return f"{past} snapshots of the past moved" if past else "new snapshots"


def log_change(workspace: Workspace, sql: ViewSql, old: ViewState | None) -> int:
    """Return the earliest time at which a view could look different for loads that it has not seen, else NEVER.

    An event changes what comes after its time, a new version of a user or an item what comes from its time on.
    """
    loads = workspace.lake.manifest().loads
    fresh = loads[len(old.loads) :] if old is not None else loads
    read = {
        "events": sql.reads("events", "own_events", "changes"),
        "users": sql.reads("users", "user_attributes", "segments", *MOMENTS["users"]),
        "items": sql.reads("items", "item_attributes", "item_groups", *MOMENTS["items"]),
    }
    firsts = [_first_time(workspace, fresh, table) + (table == "events") for table in read if read[table]]
    return min(firsts, default=NEVER)


def _first_time(workspace: Workspace, loads: tuple[Load, ...], table: str) -> int:
    paths = [str(workspace.lake.root / name) for load in loads for name in load.files.get(table, [])]
    if not paths:
        return NEVER
    with new_connection(workspace.config.engine) as connection:
        first = connection.execute(f"SELECT min({TIME}) FROM {parquet(paths)}").fetchone()[0]
    return NEVER if first is None else to_us(first)
