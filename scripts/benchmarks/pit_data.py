"""The workload of `scripts/bench pit`: three feature views of ten features each and a spine of (user, item, time).

Daily rows for every user and item, pairs at random times, created when they happened; half of the spine's pairs have
a row of their own. Written once per size, from a seed.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DAY = 86_400 * 10**6
FIRST = 1_735_689_600 * 10**6  # 2025-01-01 in microseconds
SPAN = 365
USER_DAYS = 90
FEATURES = 10
ROW_GROUP = 122_880


@dataclass(frozen=True)
class Size:
    """How many users, items and pairs there are, and how long the two spines are."""

    name: str
    users: int
    items: int
    pairs: int
    spine: int
    long_spine: int


FULL = Size("full", 50_000, 5_000, 1_000_000, 1_000_000, 10_000_000)
QUICK = Size("quick", 5_000, 1_000, 100_000, 50_000, 500_000)


def make(folder: Path, size: Size, seed: int = 0) -> Path:
    """Write the views and spines of a size below `folder`, unless they are there; return their folder."""
    target = folder / f"{size.name}-{seed}"
    if target.exists():
        return target
    temporary = target.with_name(f".{target.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    recent = np.arange(SPAN - USER_DAYS, SPAN) * DAY
    users = np.tile(np.arange(size.users), USER_DAYS)
    _write_view(temporary / "user.parquet", {"user_id": users}, np.repeat(recent, size.users), rng)
    items = np.tile(np.arange(size.items), SPAN)
    _write_view(temporary / "item.parquet", {"item_id": items}, np.repeat(np.arange(SPAN) * DAY, size.items), rng)
    pairs = {"user_id": rng.integers(0, size.users, size.pairs), "item_id": rng.integers(0, size.items, size.pairs)}
    times = np.sort(rng.integers((SPAN - USER_DAYS) * DAY, SPAN * DAY, size.pairs))
    _write_view(temporary / "pair.parquet", pairs, times, rng)
    for name, rows in (("spine", size.spine), ("long_spine", size.long_spine)):
        _write_spine(temporary / f"{name}.parquet", pairs, size, rows, rng)
    temporary.rename(target)
    return target


def _write_view(path: Path, keys: dict[str, np.ndarray], times: np.ndarray, rng: np.random.Generator) -> None:
    columns: dict[str, pa.Array] = {name: pa.array(values) for name, values in keys.items()}
    columns["event_timestamp"] = columns["created_timestamp"] = _stamps(times)
    for number in range(FEATURES):
        values = rng.random(len(times)) if number % 3 else rng.integers(0, 1000, len(times))
        columns[f"{path.stem}_{number}"] = pa.array(values)
    pq.write_table(pa.table(columns), path, row_group_size=ROW_GROUP)


def _write_spine(path: Path, pairs: dict[str, np.ndarray], size: Size, rows: int, rng: np.random.Generator) -> None:
    known = rng.integers(0, size.pairs, rows)
    drawn = {"user_id": rng.integers(0, size.users, rows), "item_id": rng.integers(0, size.items, rows)}
    own = rng.random(rows) < 0.5
    columns: dict[str, pa.Array] = {
        name: pa.array(np.where(own, pairs[name][known], drawn[name])) for name in ("user_id", "item_id")
    }
    columns["event_timestamp"] = _stamps(rng.integers((SPAN - USER_DAYS + 5) * DAY, (SPAN + 1) * DAY, rows))
    columns["row"] = pa.array(np.arange(rows))
    pq.write_table(pa.table(columns), path, row_group_size=ROW_GROUP)


def _stamps(offsets: np.ndarray) -> pa.Array:
    return pa.array(FIRST + offsets, pa.int64()).cast(pa.timestamp("us", "UTC"))
