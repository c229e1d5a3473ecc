"""Incremental equals backfill, to the byte; late events, moved cuts and changed definitions are noticed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import feature_repo.views
from feature_repo.building import run, runs, shares
from feature_repo.building.parts import PUSHED
from feature_repo.building.plan import UP_TO_DATE
from feature_repo.building.run import build_features, plan_features
from feature_repo.building.snapshots import from_us, workspace_calendar
from feature_repo.building.state import ViewState
from feature_repo.building.transform import RESULT, ViewTransform
from feature_repo.data_set import DataSet
from feature_repo.discovery import discover, sql_path
from feature_repo.errors import MissingError
from feature_repo.lake import Lake
from feature_repo.workspace import Workspace

EVERY_DAY = {
    "item_engagement", "item_popularity", "user_activity", "user_category_affinity", "user_habits", "user_item",
}  # fmt: skip
VIEWS = tuple(sorted(path.stem for path in Path(feature_repo.views.__file__).parent.glob("*.sql")))


def contents(workspace: Workspace) -> dict[str, bytes]:
    root = workspace.data_dir / "features"
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.parquet"))}


def reasons(workspace: Workspace) -> dict[str, str]:
    return {plan.view: plan.reason for plan in plan_features(workspace)}


@pytest.fixture
def at_day(tmp_path: Path, small_log, write_load, make_config) -> Callable[..., Workspace]:
    """Return a workspace over the first days of a log, appended load by load to one directory."""
    tables = small_log(5)
    cuts = [datetime(2024, 2, day, hour, tzinfo=UTC) for day, hour in ((3, 7), (4, 15), (5, 1))]

    def load(directory: str, start: datetime | None, end: datetime, *, first: bool) -> Workspace:
        lake = Lake(tmp_path / directory)
        times = tables["events"]["event_timestamp"]
        keep = pc.less(times, pa.scalar(end, times.type))
        if start is not None:
            keep = pc.and_(keep, pc.greater_equal(times, pa.scalar(start, times.type)))
        others = (tables["users"], tables["items"]) if first else ()
        write_load(lake, tables["events"].filter(keep), *others)
        return Workspace(lake.data_dir, make_config(*cuts))

    return load


def test_day_by_day_leaves_the_bytes_of_a_backfill(at_day) -> None:
    edges = [
        datetime(2024, 2, 6, 13, tzinfo=UTC),
        datetime(2024, 2, 8, tzinfo=UTC),
        datetime(2024, 2, 8, 5, tzinfo=UTC),
    ]
    edges += [datetime(2024, 2, day, 9, tzinfo=UTC) for day in (9, 17)]
    edges += [datetime(2024, 3, 1, tzinfo=UTC)]
    start = None
    for number, end in enumerate(edges):
        workspace = at_day("daily", start, end, first=number == 0)
        plans = build_features(workspace)
        if number:
            computed = {plan.view: len(plan.affected) for plan in plans}
            assert 0 < computed["user_item"] <= 13
            assert computed["item_attributes"] == 0
        start = end
    whole = at_day("whole", None, edges[-1], first=True)
    build_features(whole)
    assert contents(workspace) == contents(whole)
    assert set(reasons(workspace).values()) == {UP_TO_DATE}


def test_building_twice_gives_the_same_bytes(small_workspace) -> None:
    workspace = small_workspace(6)
    assert set(reasons(workspace).values()) == {"never built"}
    build_features(workspace)
    before = contents(workspace)
    assert {path.split("/")[0] for path in before} == {*VIEWS, "candidates", "user_candidates"}
    build_features(workspace)
    assert contents(workspace) == before
    for view in VIEWS:
        ViewState.forget(workspace.feature_path(view))
    build_features(workspace)
    assert contents(workspace) == before


def test_a_cut_in_the_past_changes_only_what_lies_around_it(small_workspace, make_config) -> None:
    workspace = small_workspace(7)
    build_features(workspace)
    moved = replace(workspace, config=make_config(*(datetime(2024, 2, d, 3, tzinfo=UTC) for d in (11, 20, 28))))
    plan = next(plan for plan in plan_features(moved) if plan.view == "user_activity")
    assert "snapshots of the past moved" in plan.reason
    # Three cuts went, three came; each changes its own rows and those of the snapshot after it.
    assert len(plan.affected) <= 9
    build_features(moved)
    incremental = contents(moved)
    for view in VIEWS:
        ViewState.forget(moved.feature_path(view))
    build_features(moved)
    assert contents(moved) == incremental


def hours(*moments: tuple[int, int, int]) -> list[datetime]:
    return [datetime(2024, 2, day, hour, minute, tzinfo=UTC) for day, hour, minute in moments]


@pytest.mark.parametrize(
    ("cuts", "moved"),
    [
        (hours((10, 7, 20), (20, 13, 0), (28, 0, 0)), {"10 07:00 10 07:20", "20 15:00 20 13:00"}),
        (hours((10, 6, 59), (21, 15, 0), (28, 2, 0)), {"10 07:00 10 06:59"}),
        (hours((20, 3, 0), (20, 15, 30), (28, 0, 0)), set()),
    ],
)
def test_of_a_cut_that_moves_within_its_day_only_keys_with_events_between_are_computed(
    small_workspace, make_config, cuts, moved
) -> None:
    workspace = small_workspace(7)
    build_features(workspace)
    later = replace(workspace, config=make_config(*cuts))
    for plan in build_features(later):
        stamps = {" ".join(f"{from_us(time):%d %H:%M}" for time in pair) for pair in plan.moved if pair[0] != pair[1]}
        assert stamps == (moved if plan.view in EVERY_DAY else set()), plan.view
    incremental = contents(later)
    for view in VIEWS:
        ViewState.forget(later.feature_path(view))
    build_features(later)
    assert contents(later) == incremental


def test_keys_with_pushed_rows_between_a_cut_and_its_old_place_are_computed(small_workspace, make_config) -> None:
    workspace = small_workspace(7)
    build_features(workspace, ["user_item"])
    folder = workspace.feature_path("user_item")
    with workspace.connect() as connection:
        rows = connection.sql(
            "SELECT * REPLACE (TIMESTAMPTZ '2024-02-10 07:10:00+00' AS event_timestamp) "
            f"FROM '{folder}/2024-02*.parquet' "
            "QUALIFY row_number() OVER (PARTITION BY user_id, item_id ORDER BY event_timestamp) = 1"
        ).to_arrow_table()
    (folder / PUSHED).mkdir()
    pq.write_table(rows, folder / PUSHED / "rows.parquet")
    later = replace(workspace, config=make_config(*hours((10, 7, 20), (20, 15, 0), (28, 0, 0))))
    [plan] = build_features(later, ["user_item"])
    assert len(plan.moved) == 2
    data = DataSet.of(later)
    transform = ViewTransform.of(discover(data).computed_view("user_item"), sql_path("user_item"))
    order = "ORDER BY event_timestamp, user_id, item_id"
    with later.connect() as connection:
        transform.compute(connection, data, workspace_calendar(later), pushed=[folder / PUSHED / "rows.parquet"])
        wanted = connection.sql(f"FROM {RESULT} {order}").to_arrow_table()
        stored = f"SELECT * EXCLUDE (created_timestamp) FROM '{folder}/2024-*.parquet' {order}"
        found = connection.sql(stored).to_arrow_table()
    assert found.num_rows
    assert found == wanted


def test_late_events_are_computed_from_their_time_on(small_workspace, small_log, write_load) -> None:
    workspace = small_workspace(8)
    build_features(workspace)
    late = small_log(8)["events"].slice(100, 3)
    write_load(workspace.lake, late)
    first = pc.min(late["event_timestamp"]).as_py()
    plans = {plan.view: plan for plan in plan_features(workspace)}
    assert plans["user_item"].reason == f"events since {first:%Y-%m-%d %H:%M:%S} arrived late"
    assert plans["item_attributes"].is_empty
    build_features(workspace)
    incremental = contents(workspace)
    for view in VIEWS:
        ViewState.forget(workspace.feature_path(view))
    build_features(workspace)
    assert contents(workspace) == incremental


def test_new_items_rebuild_the_views_that_read_them(small_workspace, small_log, write_load) -> None:
    workspace = small_workspace(10)
    build_features(workspace)
    tables = small_log(10)
    write_load(workspace.lake, tables["events"].slice(0, 0), None, tables["items"].slice(0, 1).set_column(
        0, "item_id", pa.array([99])))  # fmt: skip
    plans = {plan.view: plan for plan in plan_features(workspace)}
    assert plans["item_attributes"].reason == "its table has new rows"
    assert plans["user_activity"].is_empty
    build_features(workspace)


def test_a_crash_while_a_view_is_written_is_mended(small_workspace) -> None:
    workspace = small_workspace(11)
    build_features(workspace, ["user_item"])
    before = contents(workspace)
    folder = workspace.feature_path("user_item")
    (folder / ".2024-02.parquet.tmp").write_bytes(b"half")
    ViewState.forget(folder)
    assert reasons(workspace)["user_item"] == "never built"
    build_features(workspace, ["user_item"])
    assert contents(workspace) == before
    assert not list(folder.glob(".*"))


def test_changed_roles_and_formats_build_anew(small_workspace) -> None:
    workspace = small_workspace(12)
    build_features(workspace, ["user_activity"])
    config = workspace.config.model_copy(
        update={"events": workspace.lake.manifest_roles().model_copy(update={"consuming": ["click"]})}
    )
    assert reasons(replace(workspace, config=config))["user_activity"] == "the event roles changed"
    state = workspace.feature_path("user_activity") / "_state.json"
    raw = json.loads(state.read_text())
    state.write_text(json.dumps({**raw, "sql": "other"}))
    assert reasons(workspace)["user_activity"] == "its SQL changed"
    state.write_text(json.dumps({**raw, "format": 1}))
    assert reasons(workspace)["user_activity"] == "its files are of another version"
    state.unlink()
    assert reasons(workspace)["user_activity"] == "never built"


def test_an_unknown_view_is_named(small_workspace) -> None:
    with pytest.raises(MissingError, match=r'user_activty.*Did you mean "user_activity"'):
        plan_features(small_workspace(0), ["user_activty"])


def test_nothing_loaded_says_what_to_do(tmp_path: Path, make_config) -> None:
    cuts = [datetime(2024, 2, day, tzinfo=UTC) for day in (1, 2, 3)]
    with pytest.raises(MissingError, match="rankhouse load"):
        plan_features(Workspace(tmp_path / "none", make_config(*cuts)))


def test_a_dealt_log_gives_the_same_bytes(small_workspace, monkeypatch) -> None:
    """Range of keys by range of keys, with rows laid aside on disk: no byte depends on it, and nothing is left over."""
    workspace = small_workspace(20)
    found = []
    for part, held in ((1 << 20, 1 << 28), (40, 1 << 12)):
        for module in (run, shares):
            monkeypatch.setattr(module, "PART", part)
        monkeypatch.setattr(runs, "HELD", held)
        shutil.rmtree(workspace.data_dir / "features", ignore_errors=True)
        build_features(workspace)
        found.append(contents(workspace))
    assert found[0] == found[1]
    assert not [path for path in (workspace.data_dir / "spill").rglob("*") if path.is_file()]
