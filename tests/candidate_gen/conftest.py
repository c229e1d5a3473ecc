"""A small log for candidate sources: own ids in, Interactions out, by the same reader as in production."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from candidate_gen.interactions import Interactions, read_interactions

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

    def make(seed: int = 0, *, users: int = 12, items: int = 9, events: int = 120, **attributes: dict) -> Interactions:
        random = np.random.default_rng(seed)
        names = [f"u{number}" for number in random.permutation(users) + 5]
        things = [f"i{number}" for number in random.permutation(items) + 5]
        rows = [
            (names[random.integers(users)], things[int(items * random.random() ** 2)], float(random.integers(40)),
             float(random.choice([0.0, 0.5, 1.0])))
            for _ in range(events)
        ]  # fmt: skip
        return read_log([*rows, ("u0", "i0", 3.0, 0.0)], **attributes)

    return make
