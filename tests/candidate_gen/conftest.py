"""A small log for candidate sources: own ids in, Interactions out, by the same reader as in production."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from candidate_gen.interactions import Interactions, read_interactions
from feature_repo.config import Config
from feature_repo.lake import Lake, Load, Manifest
from feature_repo.workspace import Workspace

START = datetime(2024, 1, 1, tzinfo=UTC)
Event = tuple[object, object, float, float]
"""user, item, days since START, label weight (0: consumed but no label)"""


def _table(columns: dict[str, list], key: str) -> pa.Table:
    table = pa.table(columns)
    return table.append_column("event_timestamp", pa.array([START] * len(table[key]), pa.timestamp("us", "UTC")))


def _read(
    events: Sequence[Event],
    *,
    users: dict[str, list] | None = None,
    items: dict[str, list] | None = None,
    as_of: float = 100.0,
) -> Interactions:
    user, item, days, weight = (list(column) for column in zip(*events, strict=True))
    times = pa.array([START + timedelta(days=day) for day in days], pa.timestamp("us", "UTC"))
    log = {"user_id": user, "item_id": item, "event_timestamp": times, "target_weight": pa.array(weight, pa.float64())}
    with duckdb.connect() as connection:
        connection.register("events", pa.table(log | {"consuming": [True] * len(user)}))
        connection.register(
            "users", _table(users or {"user_id": user[:0] or pa.array([], pa.array(user).type)}, "user_id")
        )
        connection.register("items", _table(items or {"item_id": pa.array([], pa.array(item).type)}, "item_id"))
        return read_interactions(connection, START + timedelta(days=as_of))


@pytest.fixture(scope="session")
def read_log() -> Callable[..., Interactions]:
    """Read events (user, item, day, weight) and attribute columns before day `as_of` into Interactions."""
    return _read


@pytest.fixture(scope="session")
def random_log(read_log: Callable[..., Interactions]) -> Callable[..., Interactions]:
    """A random log with string ids out of order, repeats, ties in time, and one user and one item without a label."""

    def make(
        seed: int = 0, *, users: int = 12, items: int = 9, events: int = 120, tables: dict | None = None
    ) -> Interactions:
        random = np.random.default_rng(seed)
        names = [f"u{number}" for number in random.permutation(users) + 5]
        things = [f"i{number}" for number in random.permutation(items) + 5]
        rows = [
            (names[random.integers(users)], things[int(items * random.random() ** 2)], float(random.integers(40)),
             float(random.choice([0.0, 0.5, 1.0])))
            for _ in range(events)
        ]  # fmt: skip
        return read_log([*rows, ("u0", "i0", 3.0, 0.0)], **tables or {})

    return make


SOURCES = {
    "popular": {"class": "candidate_gen.popularity.Popularity", "depth": 3},
    "als": {
        "class": "candidate_gen.als.ALS",
        "depth": 4,
        "params": {"factors": 3, "regularization": 0.1},
        "publish": ["vectors"],
    },
    "knn": {
        "class": "candidate_gen.item_knn.CosineItemKNN",
        "depth": 2,
        "params": {"neighbours": 5},
        "publish": ["neighbours"],
    },
}


def _config(sources: dict[str, object], extra_pairs: int = 0, **settings: object) -> Config:
    split = {"train": [{"quantile": 0.4}], "validation": {"quantile": 0.6}, "test": {"quantile": 0.8}}
    candidates = {"sources": sources, "seed": 3, "extra_pairs": extra_pairs}
    return Config.model_validate({"split": split, "candidates": candidates, **settings})


@pytest.fixture(scope="session")
def make_workspace() -> Callable[..., Workspace]:
    """Write (user, item, day, type) events into a lake: `buy` is a label, `buy` and `skip` consume, `view` does not."""

    def make(
        folder: Path,
        events: Sequence[tuple],
        *,
        known: Sequence = (),
        items: dict[str, list] | None = None,
        sources: dict | None = None,
        **settings,
    ) -> Workspace:
        user, item, days, kind = (list(column) for column in zip(*events, strict=True))
        times = pa.array([START + timedelta(days=day) for day in days], pa.timestamp("us", "UTC"))
        log = pa.table({"user_id": user, "item_id": item, "event_timestamp": times, "event_type": kind})
        people = _table({"user_id": pa.array(known, log["user_id"].type)}, "user_id")
        lake = Lake(folder)
        files = {"events": log.append_column("value", pa.nulls(len(log), pa.float64())), "users": people}
        files |= {"items": _table(items, "item_id")} if items else {}
        lake.root.mkdir(parents=True)
        for name, table in files.items():
            pq.write_table(table, lake.root / f"{name}.parquet")
        load = Load("test", "test", {}, {name: [f"{name}.parquet"] for name in files})
        types = ["int64" if pa.types.is_integer(log[key].type) else "string" for key in ("user_id", "item_id")]
        lake.commit(Manifest("test", *types, {"targets": {"buy": 1.0}, "consuming": ["buy", "skip"]}, loads=(load,)))
        return Workspace(folder, _config(sources or SOURCES, **settings))

    return make


@pytest.fixture(scope="session")
def random_events() -> Callable[..., list[tuple]]:
    """Random (user, item, day, type) events with string ids whose order differs from first appearance."""

    def make(seed: int = 0, *, users: int = 15, items: int = 12, events: int = 300) -> list[tuple]:
        random = np.random.default_rng(seed)
        names = [f"u{number}" for number in random.permutation(users) + 5]
        things = [f"i{number}" for number in random.permutation(items) + 5]
        return [
            (names[random.integers(users)], things[int(items * random.random() ** 1.5)], float(random.integers(50)),
             str(random.choice(["buy", "buy", "skip", "view"])))
            for _ in range(events)
        ]  # fmt: skip

    return make
