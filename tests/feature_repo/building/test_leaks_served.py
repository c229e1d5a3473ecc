"""What the services give at T, on-demand views among it, does not depend on what happens at or after T.

The log is replaced by one that differs from T on (events go, change and come, users and items get new versions), all
views are built over it, and everything that is visible at T is found again, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from feature_repo import store
from feature_repo.building.leaks import perturb
from feature_repo.building.run import build_features
from feature_repo.columns import TIME
from feature_repo.data_set import DataSet
from feature_repo.discovery import discover
from feature_repo.lake import Lake
from feature_repo.loading import LoadOptions, World, load_source
from feature_repo.services import CONTEXT, RANKER
from feature_repo.workspace import Workspace

ML_100K = Path(__file__).parents[3].parent / "shared" / "data" / "ml-100k"
KINDS = {"synthetic": ["0.45", "midnight"], "ml-100k": ["0.8"]}


@pytest.fixture(scope="module", params=KINDS)
def original(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, list[datetime]]:
    """A built workspace with fixed cuts, and the times to look at."""
    directory = tmp_path_factory.mktemp("original")
    if request.param == "ml-100k" and not ML_100K.exists():
        pytest.skip("MovieLens 100k is not beside the repo")
    source = "synthetic" if request.param == "synthetic" else str(ML_100K)
    load_source(source, Lake(directory), LoadOptions(world=World(users=70, items=50, days=45, seed=4)))
    loaded = Workspace.open(directory)
    periods = loaded.periods
    moments = {"0.45": periods.train[0].start, "0.8": periods.validation.start}
    moments["midnight"] = periods.test.start.replace(hour=0, minute=0, second=0, microsecond=0)
    chosen = [moments[name] for name in KINDS[request.param]]
    workspace = at_fixed_times(loaded, loaded.now + timedelta(days=3))
    build_features(workspace, cuts=chosen)
    store.apply(workspace)
    return workspace, chosen


def at_fixed_times(workspace: Workspace, now: datetime) -> Workspace:
    """The same workspace with dates for quantiles, so that another log has the same calendar."""
    periods = workspace.periods
    split = {
        "train": [{"date": window.start} for window in periods.train],
        "validation": {"date": periods.validation.start},
        "test": {"date": periods.test.start},
    }
    split = workspace.config.split.model_validate(split)
    return Workspace(workspace.data_dir, workspace.config.model_copy(update={"now": now, "split": split}))


def perturbed(workspace: Workspace, moment: datetime, directory: Path, write_load: Callable[..., None]) -> Workspace:
    """Write a lake like the workspace's that differs from the moment on."""
    with workspace.connect() as connection:
        perturb(connection, moment)
        tables = {
            "events": connection.sql("SELECT * EXCLUDE (target_weight, consuming) FROM events").to_arrow_table(),
            "users": connection.sql("FROM users").to_arrow_table(),
            "items": connection.sql("FROM items").to_arrow_table(),
        }
    lake = Lake(directory)
    lake.commit(replace(workspace.lake.manifest(), loads=()))
    write_load(lake, tables["events"], tables["users"], tables["items"])
    return Workspace(directory, workspace.config)


def features(workspace: Workspace, pairs: pa.Table, moment: datetime, service: str) -> pa.Table:
    """The service's features of pairs at a time, as training reads them."""
    workspace.export()
    stamp = pa.array([moment] * pairs.num_rows, pa.timestamp("us", tz="UTC"))
    spine = pairs.append_column(TIME, stamp)
    for name in ("device", "surface") if service == CONTEXT else ():
        spine = spine.append_column(name, pa.array(["one"] * pairs.num_rows))
    return store.historical_features(workspace, spine, service).combine_chunks()


def test_nothing_at_t_depends_on_what_follows(original, tmp_path: Path, write_load) -> None:
    workspace, moments = original
    on_demand = {view.name for view in discover(DataSet.of(workspace)).on_demand}
    assert {"affinity", "audience", "context", "recency", "segment_taste", "trend"} <= on_demand
    with workspace.connect() as connection:
        pairs = connection.sql(
            "SELECT DISTINCT user_id, item_id FROM events ORDER BY hash(user_id, item_id) LIMIT 400"
        ).to_arrow_table()
    for number, moment in enumerate(moments):
        other = perturbed(workspace, moment, tmp_path / str(number), write_load)
        build_features(other, cuts=moments)
        store.apply(other)
        for service in (RANKER, CONTEXT):
            found, expected = (features(w, pairs, moment, service) for w in (other, workspace))
            differ = [name for name in expected.column_names if not found[name].equals(expected[name])]
            assert differ == [], (service, moment)
            filled = [name for name in expected.column_names if expected[name].null_count < pairs.num_rows]
            assert len(filled) > (90 if service == RANKER else 5)
        # The change is one: a few days later most features tell the two logs apart.
        later = moment + timedelta(days=2)
        found, expected = (features(w, pairs, later, RANKER) for w in (other, workspace))
        differ = [name for name in expected.column_names if not found[name].equals(expected[name])]
        assert len(differ) > 60
