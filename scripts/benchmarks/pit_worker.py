"""One measurement of `scripts/bench pit` in a process of its own: prints seconds and peak memory above the imports.

    python pit_worker.py CONTENDER FOLDER SPINE TTL_DAYS THREADS RESULT KEEP

CONTENDER is ours, ours-persist, feast, duckdb, polars or polars-persist; TTL_DAYS 0 means none; RESULT is where the
result goes: a "-persist" contender writes it within the measured time, the others after it, and only where KEEP is 1.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

VIEWS = {"user": ["user_id"], "item": ["item_id"], "pair": ["user_id", "item_id"]}
FEATURES = 10


def main() -> None:
    contender, folder, spine, ttl_days, threads, result, keep = sys.argv[1:]
    bind(int(threads))
    ttl = timedelta(days=int(ttl_days)) if int(ttl_days) else None
    prepare = {"ours": ours, "feast": feast, "duckdb": duckdb, "polars": polars}[contender.removesuffix("-persist")]
    persist = Path(result) if contender.endswith("-persist") else None
    run = prepare(Path(folder), spine, ttl, int(threads), persist)
    before = _resident()
    start = time.perf_counter()
    save = run()
    seconds = time.perf_counter() - start
    peak = _peak()
    if keep == "1" and persist is None:
        save(Path(result))
    print(json.dumps({"seconds": seconds, "megabytes": (peak - before) / 1e6}))


def bind(threads: int) -> None:
    """Keep the process to so many cores, whatever its libraries think, before they are imported."""
    for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:threads]))


Run = Callable[[], Callable[[Path], None]]


def ours(folder: Path, spine: str, ttl: timedelta | None, threads: int, persist: Path | None) -> Run:
    import pyarrow.parquet as pq
    from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

    import feature_repo.stores.offline  # noqa: F401  Feast would import it within the measured time

    offline = {"type": "feature_repo.stores.offline.AsofOfflineStore", "threads": threads, "memory_limit": "4GB"}
    store, refs = _store(folder, ttl, offline)

    def run() -> Callable[[Path], None]:
        frame = pq.read_table(folder / f"{spine}.parquet", use_threads=threads > 1)
        job = store.get_historical_features(entity_df=frame, features=refs)
        if persist is not None:
            job.persist(SavedDatasetFileStorage(path=str(persist)), allow_overwrite=True)
            return lambda path: None
        table = job.to_arrow()
        return lambda path: pq.write_table(table, path)

    return run


def feast(folder: Path, spine: str, ttl: timedelta | None, threads: int, persist: Path | None) -> Run:
    import feast.infra.offline_stores.duckdb  # noqa: F401  Feast would import it within the measured time
    import ibis
    import pandas as pd
    import pyarrow.parquet as pq

    ibis.set_backend(ibis.duckdb.connect(threads=threads))
    store, refs = _store(folder, ttl, {"type": "duckdb"})

    def run() -> Callable[[Path], None]:
        frame = pd.read_parquet(folder / f"{spine}.parquet")
        table = store.get_historical_features(entity_df=frame, features=refs).to_arrow()
        return lambda path: pq.write_table(table, path)

    return run


def polars(folder: Path, spine: str, ttl: timedelta | None, threads: int, persist: Path | None) -> Run:
    import polars as pl

    def run() -> Callable[[Path], None]:
        rows = pl.read_parquet(folder / f"{spine}.parquet").sort("event_timestamp")
        first, last = rows["event_timestamp"][0], rows["event_timestamp"][-1]
        for view, keys in VIEWS.items():
            features = [f"{view}_{number}" for number in range(FEATURES)]
            source = pl.scan_parquet(folder / f"{view}.parquet").filter(pl.col("event_timestamp") <= last)
            if ttl is not None:
                source = source.filter(pl.col("event_timestamp") >= first - ttl)
            known = source.select([*keys, "event_timestamp", *features]).collect().sort("event_timestamp")
            rows = rows.join_asof(known, on="event_timestamp", by=keys, tolerance=ttl, check_sortedness=False)
        rows = rows.sort("row")
        if persist is not None:
            rows.write_parquet(persist)
        return lambda path: rows.write_parquet(path)

    return run


def duckdb(folder: Path, spine: str, ttl: timedelta | None, threads: int, persist: Path | None) -> Run:
    """DuckDB's own ASOF joins, carrying only row numbers; the features of the rows that won are fetched after them."""
    import duckdb
    import pyarrow.parquet as pq

    connection = duckdb.connect(config={"threads": threads, "memory_limit": "4GB"})
    connection.execute("SET TimeZone = 'UTC'")

    def run() -> Callable[[Path], None]:
        connection.execute(f"CREATE TEMP TABLE spine AS FROM read_parquet('{folder / spine}.parquet')")
        first, last = connection.execute("SELECT min(event_timestamp), max(event_timestamp) FROM spine").fetchall()[0]
        columns, joins = ["s.*"], []
        for view, keys in VIEWS.items():
            features = [f"{view}_{number}" for number in range(FEATURES)]
            _match(connection, folder / f"{view}.parquet", view, keys, (first - ttl if ttl else None, last), ttl)
            columns += [f"{view}_won.{feature}" for feature in features]
            joins.append(
                f"LEFT JOIN {view}_match USING (row) LEFT JOIN {view}_won ON {view}_won.number = {view}_match.number"
            )
        query = f"SELECT {', '.join(columns)} FROM spine AS s {' '.join(joins)} ORDER BY row"
        table = connection.sql(query).to_arrow_table()
        return lambda path: pq.write_table(table, path)

    return run


def _match(connection: object, path: Path, view: str, keys: list[str], window: tuple, ttl: timedelta | None) -> None:
    """Make two tables: VIEW_match (row of the spine, number of the row that won) and VIEW_won (those rows)."""
    rows = f"read_parquet('{path}', file_row_number = true)"
    same = " AND ".join(f"s.{key} = v.{key}" for key in keys)
    first, last = window
    since = f" AND event_timestamp >= '{first.isoformat()}'" if first else ""
    fresh = f"v.event_timestamp >= s.event_timestamp - INTERVAL {ttl.days} DAYS" if ttl else "true"
    connection.execute(
        f"CREATE TEMP TABLE {view}_match AS SELECT s.row, CASE WHEN {fresh} THEN v.number END AS number "
        f"FROM spine AS s ASOF LEFT JOIN (SELECT {', '.join(keys)}, event_timestamp, file_row_number AS number "
        f"FROM {rows} WHERE event_timestamp <= '{last.isoformat()}'{since}) AS v "
        f"ON {same} AND s.event_timestamp >= v.event_timestamp"
    )
    connection.execute(
        f"CREATE TEMP TABLE {view}_won AS SELECT * RENAME (file_row_number AS number) FROM {rows} "
        f"WHERE file_row_number IN (SELECT number FROM {view}_match)"
    )


def _store(folder: Path, ttl: timedelta | None, offline: dict[str, object]) -> tuple[object, list[str]]:
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.repo_config import RepoConfig
    from feast.types import Float64, Int64

    repo = Path(tempfile.mkdtemp(prefix="rankhouse-bench-"))
    entities = {key: Entity(name=key, join_keys=[key], value_type=ValueType.INT64) for key in ("user_id", "item_id")}
    views = []
    for name, keys in VIEWS.items():
        source = FileSource(
            name=f"{name}_source",
            path=str(folder / f"{name}.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        )
        fields = [Field(name=f"{name}_{n}", dtype=Float64 if n % 3 else Int64) for n in range(FEATURES)]
        schema = [*(Field(name=key, dtype=Int64) for key in keys), *fields]
        views.append(
            FeatureView(name=name, entities=[entities[key] for key in keys], ttl=ttl, schema=schema, source=source)
        )
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(repo / "registry.db"),
        offline_store=offline,
        online_store=None,
        entity_key_serialization_version=3,
        repo_path=repo,
    )
    store = FeatureStore(config=config)
    store.apply([*entities.values(), *views])
    return store, [f"{name}:{name}_{number}" for name in VIEWS for number in range(FEATURES)]


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
