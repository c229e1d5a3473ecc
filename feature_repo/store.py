"""The feature store of one workspace, through Feast's own Python interface.

Feast's chatter is kept off the terminal; its errors are not.
"""

from __future__ import annotations

import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from feature_repo.building.parts import PUSHED
from feature_repo.building.snapshots import CLOCK_FILE, entity_table_cuts, from_us
from feature_repo.building.state import ViewState
from feature_repo.columns import TIME
from feature_repo.data_set import DataSet
from feature_repo.errors import MissingError, did_you_mean
from feature_repo.on_demand.columns import ARROW_TAG, REQUEST_TIME, plain

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureService, FeatureStore, OnDemandFeatureView

    from feature_repo.workspace import Workspace

REPO: Final = Path(__file__).parent
BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
SERVED_FOLDER: Final = "served"
"""Below the lake, as feature_repo.services has it."""


def open_store(workspace: Workspace) -> FeatureStore:
    """Return Feast's FeatureStore over the workspace's data directory."""
    with quiet():
        from feast import FeatureStore

        workspace.export()
        return FeatureStore(repo_path=str(REPO))


def apply(workspace: Workspace) -> FeatureStore:
    """Register the definitions for this workspace, drop what is no longer defined (`feast apply`); return the store."""
    store = open_store(workspace)
    with quiet():
        from feature_repo.discovery import discover

        definitions = discover(DataSet.of(workspace))
        keep = {thing.name for thing in definitions.objects}
        registered = [
            *store.list_feature_services(),
            *store.list_on_demand_feature_views(),
            *store.list_feature_views(),
        ]
        gone = [thing for thing in registered if thing.name not in keep]
        store.apply(definitions.objects, objects_to_delete=gone, partial=False)
    return store


@dataclass(frozen=True)
class Clock:
    """<data dir>/clock.json: the online store's `now`, every time that was served, what each view was read from."""

    now: datetime | None = None
    served: tuple[datetime, ...] = ()
    rewrites: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, workspace: Workspace) -> Clock:
        path = workspace.data_dir / CLOCK_FILE
        if not path.exists():
            return cls()
        raw = json.loads(path.read_text(encoding="utf-8"))
        served = tuple(datetime.fromisoformat(text) for text in raw.get("served", []))
        return cls(datetime.fromisoformat(raw["now"]), served, raw.get("rewrites", {}))

    def write(self, workspace: Workspace) -> None:
        raw = {
            "now": None if self.now is None else self.now.isoformat(),
            "served": [time.isoformat() for time in self.served],
            "rewrites": dict(self.rewrites),
        }
        path = workspace.data_dir / CLOCK_FILE
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(raw) + "\n", encoding="utf-8")
        os.replace(temporary, path)


@dataclass(frozen=True)
class Materialized:
    """One view brought online: from when, up to when."""

    view: str
    start: datetime
    end: datetime


def materialize(workspace: Workspace, progress: Callable[[str, int, int], None] | None = None) -> list[Materialized]:
    """Bring the online store up to the last built snapshot or cut, which becomes its clock.

    A view is read from where it was read to the last time, from the beginning where its past changed. Raises
    MissingError where no view was built.
    """
    from feature_repo.discovery import discover

    store = apply(workspace)
    definitions = discover(DataSet.of(workspace))
    states = {name: ViewState.read(workspace.feature_path(name)) for name in definitions.computed}
    cuts = entity_table_cuts(workspace)
    end = _end(workspace, states, cuts)
    clock = Clock.read(workspace)
    done = []
    for number, view in enumerate(definitions.views):
        if progress is not None:
            progress(view.name, number, len(definitions.views))
        if view.name in states:
            start = _start(clock, view.name, states[view.name])
        else:
            start = max((cut for cut in cuts if cut <= end), default=end)
        with quiet():
            store.materialize(start_date=start, end_date=end, feature_views=[view.name])
        done.append(Materialized(view.name, start, end))
    _compact(workspace, states)
    rewrites = {name: state.rewrites for name, state in states.items() if state is not None}
    Clock(end, tuple(sorted({*clock.served, end})), rewrites).write(workspace)
    return done


def _compact(workspace: Workspace, views: Iterable[str]) -> None:
    """Merge the many small files that a server left: rows that events pushed, and the log of what was served."""
    from feature_repo.stores.compaction import compact

    folders = [workspace.feature_path(view) / PUSHED for view in views]
    with workspace.lake.lock():
        for folder in [*folders, workspace.lake.root / SERVED_FOLDER]:
            compact(folder)


def _end(workspace: Workspace, states: Mapping[str, ViewState | None], cuts: list[datetime]) -> datetime:
    built = [from_us(state.snapshots[-1]) for state in states.values() if state is not None and state.snapshots]
    missing = [name for name, state in states.items() if state is None]
    if missing or not built:
        raise MissingError(
            workspace.data_dir / "features",
            expected=f"rows of the views {', '.join(states)}",
            got=f"no complete build of {', '.join(missing)}",
            fix="Run `rankhouse features build` first.",
        )
    return max(max(built), *(cut for cut in cuts if cut <= workspace.now), BEGINNING)


def _start(clock: Clock, view: str, state: ViewState | None) -> datetime:
    unchanged = state is not None and state.rewrites == clock.rewrites.get(view)
    return clock.now if unchanged and state.snapshots and clock.now is not None else BEGINNING


def feature_service(store: FeatureStore, name: str) -> FeatureService:
    """Return a registered service; raise MissingError that lists those that are."""
    from feast.errors import FeatureServiceNotFoundException

    try:
        return store.get_feature_service(name)
    except FeatureServiceNotFoundException:
        known = [service.name for service in store.list_feature_services()]
        raise MissingError(
            "the registry",
            expected=f"one of the services {', '.join(known)}" if known else "a registered feature service",
            got=repr(name),
            fix=f"Correct the name or run `rankhouse apply`.{did_you_mean(name, known)}",
        ) from None


def service_columns(service: FeatureService) -> list[str]:
    """Return the names of a service's features, in order: the columns that it adds to a frame."""
    return [feature.name for projection in service.feature_view_projections for feature in projection.features]


def historical_features(workspace: Workspace, entities: pa.Table, service: str) -> pa.Table:
    """Return `entities` (user_id, item_id, event_timestamp, more) with the service's features, as known at each time.

    Rows keep their order; the features follow in the order of the service. Raises MissingError for a service that is
    not registered.
    """
    import pyarrow as pa

    return pa.concat_tables(historical_parts(workspace, entities, service))


def historical_parts(workspace: Workspace, entities: pa.Table, service: str) -> Iterator[pa.Table]:
    """Yield the same rows some at a time, at least one table: of their features no more than these are held."""
    store = open_store(workspace)
    contract = feature_service(store, service)
    frame = entities.append_column(REQUEST_TIME, entities[TIME])
    wanted = [*entities.column_names, *service_columns(contract)]
    with quiet():
        job = store.get_historical_features(entity_df=frame, features=contract)
        parts = (_with_on_demand(part, job.on_demand_feature_views) for part in job.numbered_parts())
        part = next(parts, None)
    while part is not None:
        yield _plain(part.select(wanted))
        del part  # before the next one is made
        with quiet():  # not around the yield: what the caller prints meanwhile is meant to be seen
            part = next(parts, None)


def _with_on_demand(table: pa.Table, views: list[OnDemandFeatureView]) -> pa.Table:
    """Append the features of on-demand views: on Arrow where a view names such a function, else as Feast runs them."""
    for view in views:
        added = arrow_function(view)(table) if ARROW_TAG in view.tags else view.transform_arrow(_plain(table))
        for name in added.column_names:
            if not name.startswith("__index"):
                table = table.append_column(name, added[name])
    return table


def _plain(table: pa.Table) -> pa.Table:
    """Give every row its list where a column holds lists by number."""
    import pyarrow as pa

    for place, (name, kind) in enumerate(zip(table.schema.names, table.schema.types, strict=True)):
        if pa.types.is_dictionary(kind) and pa.types.is_list(kind.value_type):
            lists = [plain(chunk) for chunk in table.column(place).chunks]
            table = table.set_column(place, name, pa.chunked_array(lists, kind.value_type))
    return table


def arrow_function(view: OnDemandFeatureView) -> Callable[[pa.Table], pa.Table]:
    """Return the function that the view's tag names."""
    module, _, name = view.tags[ARROW_TAG].rpartition(".")
    return getattr(import_module(module), name)


def online_features(workspace: Workspace, pairs: pa.Table, service: str) -> pa.Table:
    """Return `pairs` (user_id, item_id) with the service's features as the online store holds them at its clock."""
    from feature_repo.stores.bulk import BulkReader

    store = open_store(workspace)
    contract = feature_service(store, service)
    now = Clock.read(workspace).now or workspace.now
    with quiet():
        return BulkReader(store).features(contract, pairs, {REQUEST_TIME: now})


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what Feast prints, logs below an error and warns about off the terminal."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
