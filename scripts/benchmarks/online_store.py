"""The online store alone: reading the features of 500 candidates, and materialising a million pairs.

    python scripts/benchmarks/online_store.py [--quick] [--json FILE]

One user, 500 items, their pairs: 30 numbers in three views, and a vector of 64 per user and per item. `read 500` is
what a ranker asks for; `read 500, file` the same without the process's cache. The peer is Feast's own SQLite store.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from report import Row, show, write_json

from feature_repo.store import quiet

if TYPE_CHECKING:
    from feast import FeatureStore

CANDIDATES: Final = 500
USERS: Final = 8
ITEMS: Final = 5_000
FEATURES: Final = 10
VECTOR: Final = 64
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
END: Final = START + timedelta(days=2)
PACKED: Final = {"type": "feature_repo.stores.online.PackedSqliteOnlineStore", "path": "online.db"}
STOCK: Final = {"type": "sqlite", "path": "online.db"}
ENGINES: Final = {"packed": "feature_repo.stores.engine.ArrowComputeEngine", "stock": "local"}


def table(rng: np.random.Generator, keys: dict[str, np.ndarray], prefix: str, numbers: int, vector: bool) -> pa.Table:
    rows = len(next(iter(keys.values())))
    times = int(START.timestamp() * 1e6) + rng.integers(0, 86_400_000_000, rows)
    stamps = pa.array(times).cast(pa.timestamp("us", "UTC"))
    columns = {name: pa.array(values) for name, values in keys.items()}
    columns |= {f"{prefix}{i}": pa.array(rng.random(rows)) for i in range(numbers)}
    if vector:
        flat = pa.array(rng.random(rows * VECTOR, np.float32))
        columns[f"{prefix}_vector"] = pa.FixedSizeListArray.from_arrays(flat, VECTOR).cast(pa.list_(pa.float32()))
    return pa.table({**columns, "event_timestamp": stamps, "created_timestamp": stamps})


def written(folder: Path, name: str, rows: pa.Table) -> Path:
    """Write a view's source and return its path."""
    path = folder / f"{name}.parquet"
    pq.write_table(rows, path)
    return path


def register(folder: Path, sources: list[Path], store: str, online: dict[str, Any]) -> FeatureStore:
    """Register one view per Parquet file, and a service of all, in a repository of its own."""
    from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.repo_config import RepoConfig
    from feast.types import Array, Float32, Float64, Int64

    folder.mkdir()
    keys = {name: Entity(name=name, join_keys=[name], value_type=ValueType.INT64) for name in ("user_id", "item_id")}
    views = []
    for path in sources:
        name, columns = path.stem, pq.read_schema(path).names
        source = FileSource(
            name=name, path=str(path), timestamp_field="event_timestamp", created_timestamp_column="created_timestamp"
        )
        own = [column for column in columns if column not in (*keys, "event_timestamp", "created_timestamp")]
        types = {column: Array(Float32) if column.endswith("_vector") else Float64 for column in own}
        entities = [keys[column] for column in columns if column in keys]
        types |= {entity.name: Int64 for entity in entities}
        schema = [Field(name=column, dtype=dtype) for column, dtype in types.items()]
        views.append(FeatureView(name=name, entities=entities, ttl=timedelta(0), schema=schema, source=source))
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / "registry.db"),
        repo_path=folder,
        online_store=online,
        offline_store={"type": "feature_repo.stores.offline.AsofOfflineStore" if store == "packed" else "duckdb"},
        batch_engine={"type": ENGINES[store]},
        entity_key_serialization_version=3,
        materialization={"pull_latest_features": True},
    )
    repository = FeatureStore(config=config)
    repository.apply([*keys.values(), *views, FeatureService(name="all", features=views)])
    return repository


@dataclass(frozen=True)
class Times:
    """Milliseconds of one call."""

    p50: float
    p99: float

    @classmethod
    def of(cls, call: Callable[[int], object], repeats: int) -> Times:
        for i in range(min(repeats, 20)):
            call(i)
        taken = []
        for i in range(repeats):
            start = perf_counter()
            call(i)
            taken.append((perf_counter() - start) * 1e3)
        return cls(*(float(q) for q in np.quantile(taken, [0.5, 0.99])))


def read_items() -> np.ndarray:
    """Return the items that each user's request asks for, int64 (users, items)."""
    rng = np.random.default_rng(0)
    return np.stack([rng.choice(ITEMS, CANDIDATES, replace=False) for _ in range(USERS)])


def read_sources(folder: Path) -> list[Path]:
    """Write the three views' sources."""
    rng, items = np.random.default_rng(1), read_items()
    pairs = {"user_id": np.repeat(np.arange(USERS), CANDIDATES), "item_id": items.reshape(-1)}
    tables = {
        "users": table(rng, {"user_id": np.arange(USERS)}, "u", FEATURES, True),
        "items": table(rng, {"item_id": np.arange(ITEMS)}, "i", FEATURES, True),
        "pairs": table(rng, pairs, "p", FEATURES, False),
    }
    return [written(folder, name, rows) for name, rows in tables.items()]


def read_cases(folder: Path, sources: list[Path], repeats: int) -> list[Row]:
    """Measure the packed store, with its cache and without, beside Feast's SQLite store."""
    items = read_items()
    with quiet():
        stores = {name: register(folder / name, sources, *kind) for name, kind in _KINDS.items()}
        for store in stores.values():
            store.materialize(START, END)
    stock = stores["stock"]
    service = stock.get_feature_service("all")

    def ask(user: int) -> object:
        rows = {"user_id": [user % USERS] * CANDIDATES, "item_id": items[user % USERS].tolist()}
        return stock.get_online_features(service, rows)

    peer = Times.of(ask, max(repeats // 10, 10))
    rows = []
    for case, name in (("read 500", "packed"), ("read 500, file", "file")):
        ours = Times.of(bulk(stores[name], items), repeats)
        for metric in ("p50", "p99"):
            rows.append(Row(case, metric, "ms", getattr(ours, metric), getattr(peer, metric), "sqlite"))
    return rows


_KINDS: Final = {
    "packed": ("packed", PACKED),
    "file": ("packed", {**PACKED, "cache_mb": 0}),
    "stock": ("stock", STOCK),
}


def bulk(store: FeatureStore, items: np.ndarray) -> Callable[[int], object]:
    """Read every stored column, vectors included, as Arrow; views of items are held in memory, as serving does it."""
    from feature_repo.stores.bulk import BulkReader

    reader = BulkReader(store)
    reader.keep("all", ["item_id"])
    gc.freeze()
    users = [np.full(CANDIDATES, user) for user in range(USERS)]
    return lambda i: reader.features("all", {"user_id": users[i % USERS], "item_id": items[i % USERS]})


def materialize(store: str, source: Path) -> dict[str, float]:
    """Materialise one file of pairs; returns rows per second and the megabytes above the process after its imports."""
    with tempfile.TemporaryDirectory() as name, quiet():
        repository = register(Path(name) / "repo", [source], *_KINDS[store])
        assert repository._get_provider().batch_engine
        gc.collect()
        before = _peak_kilobytes()
        start = perf_counter()
        repository.materialize(START, END)
        seconds = perf_counter() - start
    memory = _peak_kilobytes() - before
    return {"rows/s": pq.read_metadata(source).num_rows / seconds, "memory": memory / 1024}


def _peak_kilobytes() -> int:
    """Return this program's peak memory; getrusage's would count that of the program that started it, too."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def materialize_cases(folder: Path, rows: int, peer_rows: int) -> list[Row]:
    """Measure each store in a process of its own; the peer gets fewer rows, its rate falls further with more."""
    rng = np.random.default_rng(0)
    figures = []
    for store, count in (("packed", rows), ("stock", peer_rows)):
        pairs = {"user_id": np.arange(count) // CANDIDATES, "item_id": np.arange(count) % CANDIDATES}
        source = written(folder, f"pairs_{store}", table(rng, pairs, "p", 15, False))
        command = [sys.executable, __file__, "--materialize", store, str(source)]
        figures.append(json.loads(subprocess.check_output(command, stderr=subprocess.DEVNULL)))
    ours, peer = figures
    name = f"sqlite, {peer_rows:,} rows"
    case = f"materialize {rows // 1_000_000}M" if rows >= 1_000_000 else f"materialize {rows:,}"
    return [
        Row(case, "rows/s", "rows/s", ours["rows/s"], peer["rows/s"], name, better="higher"),
        Row(case, "memory", "MB", ours["memory"], peer["memory"], name),
    ]


def measure(*, quick: bool) -> list[Row]:
    """Return the rows of every case; Redis' only where there is a redis-server."""
    import serve_redis

    with tempfile.TemporaryDirectory() as name:
        repeats, sources = 200 if quick else 1_000, read_sources(Path(name))
        rows = read_cases(Path(name), sources, repeats)
        rows += serve_redis.measure(Path(name), sources, repeats)
        return rows + materialize_cases(Path(name), 100_000 if quick else 1_000_000, 5_000 if quick else 20_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--materialize", nargs=2, metavar=("STORE", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.materialize:
        print(json.dumps(materialize(options.materialize[0], Path(options.materialize[1]))))
        return
    rows = measure(quick=options.quick)
    show("online store", rows)
    if options.json:
        write_json(rows, options.json)


if __name__ == "__main__":
    main()
