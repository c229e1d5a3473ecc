"""Plan and build: `rankhouse features plan` and `rankhouse features build`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from feature_repo.building.lanes import Lanes
from feature_repo.building.moments import own_snapshots
from feature_repo.building.parts import EMPTY, pushed_files, write_empty, write_parts
from feature_repo.building.plan import Plan, log_change, plan_view
from feature_repo.building.rows import stamped
from feature_repo.building.runs import Runs
from feature_repo.building.shares import PART, PARTS_TOGETHER, WHOLE, Share, dealt, keys_dealt, range_events
from feature_repo.building.snapshots import workspace_calendar
from feature_repo.building.sql_types import view_columns
from feature_repo.building.state import ViewState
from feature_repo.building.transform import ViewTransform
from feature_repo.building.view_sql import ViewSql
from feature_repo.columns import TIME
from feature_repo.data_set import DataSet
from feature_repo.discovery import Definitions, discover_views, sql_path
from feature_repo.lake import new_connection, parquet

if TYPE_CHECKING:
    from datetime import datetime

    from feature_repo.workspace import Workspace

Progress = Callable[[str, int, int], None]
"""Called with the view at work, how many are done, how many there are."""


def plan_features(workspace: Workspace, views: Sequence[str] = (), cuts: Iterable[datetime] = ()) -> list[Plan]:
    """Return what a build of these views (default: all) would compute. `cuts` are snapshots to have beyond the usual.

    Raises MissingError for an unknown view and where nothing was loaded.
    """
    definitions = discover_views(DataSet.of(workspace))
    return [plan for _, plan in _plans(workspace, definitions, views, cuts)]


def build_features(
    workspace: Workspace,
    views: Sequence[str] = (),
    cuts: Iterable[datetime] = (),
    progress: Progress | None = None,
) -> list[Plan]:
    """Compute what is missing and return what was done; a view that fails keeps its old files."""
    data = DataSet.of(workspace)
    definitions = discover_views(data)
    planned = _plans(workspace, definitions, views, cuts)
    # The largest first: whatever view is last, the others have little left to wait for.
    work = sorted((pair for pair in planned if not pair[1].is_empty), key=lambda pair: _size(workspace, pair[0]))
    lanes = Lanes.of(workspace.config.engine, _held(workspace, work), len(work))
    with _dealt(workspace, work) as shares, ThreadPoolExecutor(lanes.count) as pool:
        built = [pool.submit(_build, workspace, lanes, data, *pair, shares[pair[1].view]) for pair in work]
        for done, ((_, plan), result) in enumerate(zip(work, built, strict=True), len(planned) - len(work)):
            if progress is not None:
                progress(plan.view, done, len(planned))
            result.result()
    _write_empty_sources(workspace, definitions)
    if progress is not None:
        progress("", len(planned), len(planned))
    return [plan for _, plan in planned]


def _plans(
    workspace: Workspace, definitions: Definitions, views: Sequence[str], cuts: Iterable[datetime]
) -> list[tuple[ViewTransform, Plan]]:
    chosen = [definitions.computed_view(name) for name in views] or list(definitions.computed.values())
    manifest = workspace.lake.manifest()
    snapshots = workspace_calendar(workspace, cuts)
    roles = workspace.lake.roles(workspace.config).model_dump()
    loads = tuple(load.fingerprint for load in manifest.loads)
    planned = []
    for view in chosen:
        transform = ViewTransform.of(view, sql_path(view.name))
        target = ViewState(
            sql=transform.sql.digest,
            schema=transform.schema_digest,
            roles=sha256(json.dumps(roles, sort_keys=True).encode()).hexdigest(),
            loads=loads,
            snapshots=tuple(_own_snapshots(workspace, transform.sql, snapshots).tolist()),
        )
        old = ViewState.read(workspace.feature_path(view.name))
        since, steady = log_change(workspace, transform.sql, old), transform.sql.steady and transform.is_of_events
        why_none = ViewState.why_none(workspace.feature_path(view.name))
        planned.append((transform, plan_view(view.name, old, target, since, steady=steady, why_none=why_none)))
    return planned


def _own_snapshots(workspace: Workspace, sql: ViewSql, snapshots: np.ndarray) -> np.ndarray:
    """Return the snapshots at which a view can have rows: of what is computed by the week only the first of each."""
    if not sql.on_calendar:
        return snapshots[:0]
    if sql.moments is None:
        return snapshots
    return own_snapshots(snapshots, sql.moments, partial(_versions, workspace))


def _versions(workspace: Workspace, table: str) -> np.ndarray:
    paths = workspace.lake.paths(table)
    if not paths:
        return np.empty(0, np.int64)
    with new_connection(workspace.config.engine) as connection:
        times = connection.sql(f"SELECT DISTINCT epoch_us({TIME}) AS time FROM {parquet(paths)}").to_arrow_table()
    return times["time"].to_numpy()


@contextmanager
def _dealt(workspace: Workspace, work: Sequence[tuple[ViewTransform, Plan]]) -> Iterator[dict[str, Sequence[Share]]]:
    """Deal a log that is too large to be computed at once; yield the shares of each view."""
    events = _events(workspace)
    large = {True: PART, False: PARTS_TOGETHER * PART}
    keys = {
        transform.name: keys_dealt(list(transform.keys))[0]
        for transform, plan in work
        if plan.whole and keys_dealt(list(transform.keys)) and events > large[transform.has_lists]
    }
    with dealt(workspace, sorted(set(keys.values()))) as logs:
        shares: dict[str, Sequence[Share]] = {plan.view: WHOLE for _, plan in work}
        for transform, plan in work:
            if plan.view in keys:
                log = logs[keys[plan.view]]
                shares[plan.view] = log.fine() if transform.has_lists else log.coarse()
        yield shares


def _build(
    workspace: Workspace, lanes: Lanes, data: DataSet, transform: ViewTransform, plan: Plan, shares: Sequence[Share]
) -> None:
    folder = workspace.feature_path(plan.view)
    runs = Runs(workspace.data_dir / "spill" / "runs" / plan.view)
    try:
        with lanes.connect(workspace, plan.view) as connection:
            pushed = () if plan.whole else pushed_files(folder)
            for table in transform.rows(connection, data, plan.calendar, plan.bases, shares, pushed, plan.moved):
                runs.add(table if plan.whole else stamped(table, plan.affected))
            replacement = write_parts(connection, transform, folder, runs, plan)
    finally:
        runs.close()
    ViewState.forget(folder)
    replacement.commit()
    plan.target.write(folder)


def _held(workspace: Workspace, work: Sequence[tuple[ViewTransform, Plan]]) -> int:
    """Return how many events a view may hold at once: of a log that is dealt, a file."""
    events = _events(workspace)
    return min(events, PARTS_TOGETHER * range_events(events)) if all(plan.whole for _, plan in work) else events


def _size(workspace: Workspace, transform: ViewTransform) -> tuple[int, bool]:
    """Return what sorts the largest view first: by its files, and before it has any, views of lists."""
    stored = sum(path.stat().st_size for path in workspace.feature_path(transform.name).glob("*.parquet"))
    return -stored, not transform.has_lists


def _events(workspace: Workspace) -> int:
    return sum(load.rows.get("events", 0) for load in workspace.lake.manifest().loads)


def _write_empty_sources(workspace: Workspace, definitions: Definitions) -> None:
    """Give the views that stage one writes a source before it has run."""
    for view in definitions.views:
        folder = workspace.feature_path(view.name)
        if view.name in definitions.computed or any(folder.rglob("*.parquet")):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        write_empty(view_columns(view), folder / EMPTY)
