"""Small lakes written by hand, and one synthetic world that is built, applied and materialised once per session."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.config import Config
from feature_repo.first_stage import (
    HISTORY_ITEMS,
    HISTORY_TIMES,
    candidate_fields,
    cut_column,
    learned_fields,
    neighbours_column,
    published,
    user_candidate_fields,
)
from feature_repo.lake import ALWAYS, Lake, Load, Manifest
from feature_repo.loading import LoadOptions, World, load_source
from feature_repo.workspace import Workspace

TIMES = pa.timestamp("us", tz="UTC")
ROLES = {"targets": {"click": 0.5, "buy": 2.0}, "consuming": ["buy"]}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workspaces name themselves in the environment; each test starts with and leaves behind what was there."""
    for name in ("RANKHOUSE_DATA_DIR", "RANKHOUSE_CONFIG"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def make_config() -> Callable[..., Config]:
    """Return a configuration whose cuts are dates: train, validation, test."""
    return _config


def _config(*cuts: datetime, now: datetime | str = "end-of-log") -> Config:
    train, validation, test = cuts
    return Config.model_validate(
        {
            "now": now,
            "split": {"train": [{"date": train}], "validation": {"date": validation}, "test": {"date": test}},
            "candidates": {"sources": {"pop": {"class": "x.Y"}, "als": {"class": "x.Z"}}},
        }
    )


@pytest.fixture
def write_load() -> Callable[..., None]:
    """Append one load to a lake: tables `events`, `users`, `items` as Arrow."""
    return _write_load


def _write_load(lake: Lake, events: pa.Table, users: pa.Table | None = None, items: pa.Table | None = None) -> None:
    if lake.exists():
        manifest = lake.manifest()
    else:
        kinds = {"string": "category", "double": "number"}
        attributes = [
            {}
            if table is None
            else {
                name: kinds[str(table.schema.field(name).type)] for name in table.column_names if name.startswith("a_")
            }
            for table in (users, items)
        ]
        id_types = ["int64" if pa.types.is_integer(events[key].type) else "string" for key in ("user_id", "item_id")]
        manifest = Manifest("test", *id_types, ROLES, *attributes)
    number = f"{len(manifest.loads) + 1:06d}.parquet"
    files, rows = {}, {}
    for name, table in (("events", events), ("users", users), ("items", items)):
        if table is None:
            continue
        path = lake.root / name / number
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        files[name], rows[name] = [f"{name}/{number}"], table.num_rows
    load = Load("test", f"load {len(manifest.loads)}", rows, files)
    lake.commit(Manifest(**{**manifest.__dict__, "loads": (*manifest.loads, load)}))


@pytest.fixture
def small_log() -> Callable[..., dict[str, pa.Table]]:
    """Return a random small log with ties, events at midnight, null values, repeats and items without categories."""
    return _small_log


def _small_log(seed: int, *, strings: bool = False, days: int = 45, events: int = 260) -> dict[str, pa.Table]:
    rng = np.random.default_rng(seed)
    start = np.datetime64("2024-01-30T11:00:00", "us").astype(np.int64)
    times = np.sort(start + rng.integers(0, days * 24, events) * 3_600_000_000 + rng.choice([0, 0, 1, 999_999], events))
    users, items = rng.integers(1, 9, events), rng.integers(1, 13, events)
    values = [None if rng.random() < 0.3 else float(rng.integers(1, 11)) / 2 for _ in range(events)]
    kinds = rng.choice(["view", "click", "buy"], events, p=[0.5, 0.3, 0.2])
    name = (lambda number, kind: f"{kind}'{number}") if strings else (lambda number, _: int(number))
    id_type = pa.string() if strings else pa.int64()
    names = [["a", "b"], ["b"], ["c", "a", "d"], None, [], ["d"]]
    known = [ALWAYS] * 12
    return {
        "events": pa.table(
            {
                "user_id": pa.array([name(number, "u") for number in users], id_type),
                "item_id": pa.array([name(number, "i") for number in items], id_type),
                "event_timestamp": pa.array(times, TIMES),
                "event_type": pa.array(kinds),
                "value": pa.array(values, pa.float64()),
                "origin": pa.nulls(events, pa.string()),
            }
        ),
        "users": pa.table(
            {
                "user_id": pa.array([name(number, "u") for number in range(1, 9)], id_type),
                "event_timestamp": pa.array([ALWAYS] * 8, TIMES),
                "a_group": pa.array(["x", "y", None, "x"] * 2),
            }
        ),
        "items": pa.table(
            {
                "item_id": pa.array([name(number, "i") for number in range(1, 13)], id_type),
                "event_timestamp": pa.array(known, TIMES),
                "title": pa.array([f"title {number}" for number in range(12)]),
                "categories": pa.array(names * 2, pa.list_(pa.string())),
                "released_at": pa.array([None, datetime(2023, 5, 1, tzinfo=UTC)] * 6, TIMES),
                "a_price": pa.array([1.5, None, 3.0, 4.0] * 3),
            }
        ),
    }


@pytest.fixture
def small_workspace(tmp_path: Path) -> Callable[..., Workspace]:
    """Return a workspace over a small random log (see `small_log`) with its cuts inside."""

    def make(seed: int = 0, *, strings: bool = False, tables: dict[str, pa.Table] | None = None) -> Workspace:
        directory = tmp_path / f"data-{seed}-{strings}"
        log = _small_log(seed, strings=strings) if tables is None else tables
        _write_load(Lake(directory), log["events"], log.get("users"), log.get("items"))
        cuts = [datetime(2024, 2, day, hour, tzinfo=UTC) for day, hour in ((10, 7), (20, 15), (28, 0))]
        workspace = Workspace(directory, _config(*cuts))
        workspace.export()
        return workspace

    return make


def write_first_stage(workspace: Workspace, cut: datetime, seed: int) -> None:
    """Write rows of the first-stage views for a cut, as stage one would, with random contents."""
    rng = np.random.default_rng(seed)
    with workspace.connect() as connection:
        pairs = connection.sql(
            f"SELECT DISTINCT user_id, item_id FROM events WHERE hash(user_id, item_id, {seed}) % 3 = 0 ORDER BY ALL"
        ).to_arrow_table()
    stamp = pa.array([cut] * pairs.num_rows, TIMES)
    columns: dict[str, Any] = {"user_id": pairs["user_id"], "item_id": pairs["item_id"]}
    columns |= {"event_timestamp": stamp, "created_timestamp": stamp}
    for name, dtype in candidate_fields(workspace.config):
        if pa.types.is_timestamp(dtype):
            columns[name] = stamp
        elif pa.types.is_boolean(dtype):
            columns[name] = pa.array(rng.random(pairs.num_rows) < 0.5)
        elif pa.types.is_integer(dtype):
            columns[name] = pa.array(rng.integers(1, 100, pairs.num_rows), dtype)
        else:
            columns[name] = pa.array(rng.normal(size=pairs.num_rows), dtype, mask=rng.random(pairs.num_rows) < 0.05)
    lists = pairs.group_by("user_id", use_threads=False).aggregate([("item_id", "list")])
    owned = {"user_id": lists["user_id"], "candidate_items": lists["item_id_list"]}
    owned["candidate_scores"] = pa.array(
        [[1.0 / (1 + place) for place in range(len(items))] for items in lists["item_id_list"].to_pylist()],
        dict(user_candidate_fields("int64"))["candidate_scores"],
    )
    own_stamp = pa.array([cut] * lists.num_rows, TIMES)
    owned |= {"event_timestamp": own_stamp, "created_timestamp": own_stamp, "cut": own_stamp}
    learned = {view: _learned(workspace, view, cut, rng) for view in learned_fields(workspace.config, "int64")}
    for view, table in {"candidates": pa.table(columns), "user_candidates": pa.table(owned), **learned}.items():
        path = workspace.feature_path(view) / f"cut={cut:%Y%m%dT%H%M%S.%fZ}" / "part-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)


def _learned(workspace: Workspace, view: str, cut: datetime, rng: np.random.Generator) -> pa.Table:
    """One row for most keys; some vectors and lists are null or empty, histories and neighbours hold known items."""
    key = "user_id" if view.startswith("user") else "item_id"
    with workspace.connect() as connection:
        ids = connection.sql(f"SELECT DISTINCT {key} FROM {key[:-3]}s ORDER BY ALL").to_arrow_table()[key].to_numpy()
        items = connection.sql("SELECT DISTINCT item_id FROM items ORDER BY ALL").to_arrow_table()["item_id"].to_numpy()
    ids = ids[rng.random(len(ids)) < 0.95]
    stamp = pa.array([cut] * len(ids), TIMES)
    columns = {key: pa.array(ids), "event_timestamp": stamp, "created_timestamp": stamp}
    missing, sizes = rng.random(len(ids)) < 0.1, rng.integers(0, 12, len(ids))
    chosen = [rng.choice(items, size, replace=False).tolist() for size in sizes]
    ages = [np.sort(rng.integers(0, 10**7, size)) for size in sizes]
    for name, dtype in learned_fields(workspace.config, "int64")[view]:
        if name == cut_column(view):
            columns[name] = stamp
        elif name.endswith("_vector"):
            values = [None if gone else rng.normal(size=8).tolist() for gone in missing]
            columns[name] = pa.array(values, dtype)
        elif name == HISTORY_TIMES:
            whole = cut.replace(microsecond=0)
            times = [[whole - timedelta(seconds=int(age)) for age in row] for row in ages]
            columns[name] = pa.array(times, dtype)
        elif name == HISTORY_ITEMS or name in map(neighbours_column, published(workspace.config, "neighbours")):
            columns[name] = pa.array(chosen, dtype)
        elif pa.types.is_list(dtype):
            weights = [np.sort(rng.random(size))[::-1].tolist() for size in sizes]
            columns[name] = pa.array(weights, dtype)
        else:
            columns[name] = pa.array(rng.normal(size=len(ids)), dtype, mask=missing)
    return pa.table(columns)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A synthetic world with candidates at the test cut and now: built, applied and materialised. Not to be changed."""
    from feature_repo import store
    from feature_repo.building.run import build_features

    before = {name: os.environ.get(name) for name in ("RANKHOUSE_DATA_DIR", "RANKHOUSE_CONFIG")}
    workspace = Workspace.open(tmp_path_factory.mktemp("world"))
    load_source("synthetic", workspace.lake, LoadOptions(world=World(users=150, items=120, days=60, seed=3)))
    for seed, cut in enumerate((workspace.periods.test.start, workspace.now)):
        write_first_stage(workspace, cut, seed)
    build_features(workspace)
    store.materialize(workspace)
    yield workspace
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
