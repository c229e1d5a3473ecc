"""How much of a source's proposals survives a refit: with another seed, with a week of data more, with both."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa

from candidate_gen.configured import configured_sources
from candidate_gen.interactions import encode, read_interactions
from candidate_gen.pipeline import Progress, Stage, silent
from candidate_gen.source import CandidateSource
from candidate_gen.suited import with_suited_params
from feature_repo.columns import ITEM, USER
from feature_repo.errors import DataError
from feature_repo.workspace import Workspace

WEEK: Final = timedelta(days=7)
DEPTHS: Final = (10, 100)
MOST_USERS: Final = 2000


@dataclass(frozen=True)
class Survival:
    """The share of a user's first k that the other fit proposes among its first k, mean over users, by k as text."""

    seed: dict[str, float]
    week: dict[str, float]
    both: dict[str, float]


@dataclass(frozen=True)
class StabilityReport:
    """Refits at `cut` compared with one another and with a fit a week `before`; `users`: how many lists were compared.

    What a user has consumed stays in the lists: the week's own events would otherwise count as change.
    """

    cut: datetime
    before: datetime
    users: int
    sources: dict[str, Survival]

    def as_dict(self) -> dict[str, object]:
        """Return the report as JSON values."""
        return {**asdict(self), "cut": self.cut.isoformat(), "before": self.before.isoformat()}


def report_stability(workspace: Workspace, cut: datetime, *, progress: Progress = silent) -> StabilityReport:
    """Fit stage one three times, a week before the cut and at the cut with two seeds, and compare first places.

    At most MOST_USERS users with an event before the earlier fit are asked, evenly spread over their ids. Raises
    DataError where there is no event a week before the cut.
    """
    cut = cut.astimezone(UTC)
    before = cut - WEEK
    users = _users(workspace, before)
    earlier = _lists(workspace, before, users, progress, seeds_later=0)
    now = _lists(workspace, cut, users, progress, seeds_later=0)
    reseeded = _lists(workspace, cut, users, progress, seeds_later=1)
    sources = {
        name: Survival(
            seed=_survival(now[name], reseeded[name], users),
            week=_survival(earlier[name], now[name], users),
            both=_survival(earlier[name], reseeded[name], users),
        )
        for name in earlier
        if name in now
    }
    return StabilityReport(cut, before, len(users), sources)


def _users(workspace: Workspace, before: datetime) -> pa.Array:
    with workspace.connect() as connection:
        log = read_interactions(connection, before)
    active = np.flatnonzero(log.events_per_user)
    if not len(active):
        raise DataError(
            f"the fit of {before:%Y-%m-%d %H:%M:%S} UTC, a week before the cut",
            expected="events before it",
            got="none",
            fix="Move the cut.",
        )
    chosen = active[np.linspace(0, len(active) - 1, min(len(active), MOST_USERS)).astype(np.int64)]
    return log.user_ids.take(pa.array(chosen))


def _lists(
    workspace: Workspace, moment: datetime, users: pa.Array, progress: Progress, *, seeds_later: int
) -> dict[str, pa.Table]:
    """Return each source's first items for the users, fitted on the log before a moment."""
    with workspace.connect() as connection:
        log, config = read_interactions(connection, moment), with_suited_params(workspace, connection, moment)
    sources = {name: _reseeded(source, seeds_later) for name, source in configured_sources(config).items()}
    stage = Stage.fit(log, sources, dict.fromkeys(sources, DEPTHS[-1]), allow_repeats=True, progress=progress)
    return {name: source.recommend(users, DEPTHS[-1], exclude_seen=False) for name, source in stage.sources.items()}


def _reseeded(source: CandidateSource, seeds_later: int) -> CandidateSource:
    """A source without a seed stays as it is: its fit has no chance in it."""
    if "seed" not in source.get_params():
        return source
    return source.set_params(seed=source.get_params()["seed"] + seeds_later)


def _survival(first: pa.Table, second: pa.Table, users: pa.Array) -> dict[str, float]:
    items = pa.chunked_array([*first[ITEM].chunks, *second[ITEM].chunks]).unique()
    result = {}
    for depth in DEPTHS:
        left, right = (_pairs(table, depth, users, items) for table in (first, second))
        owner = left // max(len(items), 1)
        listed = np.bincount(owner, minlength=len(users))
        common = np.bincount(owner[np.isin(left, right)], minlength=len(users))
        served = listed > 0
        result[str(depth)] = float((common[served] / listed[served]).mean()) if served.any() else 0.0
    return result


def _pairs(table: pa.Table, depth: int, users: pa.Array, items: pa.Array) -> np.ndarray:
    """The first items of every list as one number per pair."""
    table = table.filter(pa.array(table["rank"].to_numpy() <= depth))
    user, item = encode(table[USER].combine_chunks(), users), encode(table[ITEM].combine_chunks(), items)
    return user.astype(np.int64) * len(items) + item
