"""get_historical_features against a plain loop over rows, on frames made to hurt, and against Feast's own DuckDB store.

The oracle knows nothing of Arrow: rows are dicts, keys compare with ==, times are aware datetimes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore
from feast.repo_config import RepoConfig
from feast.types import Array, Float64, Int64, String
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.stores.offline import AsofOfflineStore

Row = dict[str, Any]

START = datetime(2024, 2, 28, 23, 59, 59, 999_998, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
STAMP = pa.timestamp("us", "UTC")

# Moments that are near each other in every way that matters: microseconds, the ttl's edge, days, both sides of 1970.
OFFSETS = [timedelta(microseconds=n) for n in range(5)] + [timedelta(days=n) for n in (-20_000, 1, 30, 31)]
OFFSETS += [timedelta(days=30, microseconds=n) for n in (-1, 1, 2)] + [timedelta(seconds=1)]
MOMENTS = st.sampled_from([START + offset for offset in OFFSETS])
TTLS = st.sampled_from([None, MICROSECOND, timedelta(days=1, seconds=1), timedelta(days=30)])
TEXTS = ["1", "01", "11", "1,1", "1|1", '"', "'", "", " ", "ü", "u\u0308", "\x00", "a\nb", "NULL", "1_11"]
NUMBERS = [0, 1, 11, 111, -1, 2**53, 2**53 + 1, -(2**63), 2**63 - 1]
KEYS = {"text": (pa.string(), String, TEXTS), "number": (pa.int64(), Int64, NUMBERS)}


def oracle(entities: list[Row], rows: list[Row], keys: list[str], ttl: timedelta | None, strict: bool) -> list[Row]:
    """Return for each entity row the features of the row that the time rule names, or nulls."""
    result = []
    for entity in entities:
        asked = entity["event_timestamp"]
        best: tuple[Any, ...] | None = None
        for place, row in enumerate(rows):
            event, created = row["event_timestamp"], row["created"]
            if asked is None or event is None or event > asked or (ttl and asked - event > ttl):
                continue
            if any(row[key] is None or row[key] != entity[key] for key in keys):
                continue
            if strict and (created is None or created > asked):
                continue
            candidate = (event, created or datetime.min.replace(tzinfo=UTC), place, row)
            if best is None or candidate[:3] > best[:3]:
                best = candidate
        found = best[3] if best else {}
        result.append({name: found.get(name) for name in ("value", "tags")})
    return result


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[str], list[Row], list[Row]]:
    """Return the kinds of the key parts, the view's rows and the entity rows."""
    kinds = draw(st.lists(st.sampled_from(["text", "number"]), min_size=1, max_size=3))
    part = {kind: draw(st.lists(st.sampled_from(KEYS[kind][2]), min_size=1, max_size=3)) for kind in set(kinds)}
    keys = {f"k{i}": st.none() | st.sampled_from(part[kind]) for i, kind in enumerate(kinds)}
    time = MOMENTS | MOMENTS | st.none()
    row = st.fixed_dictionaries({**keys, "event_timestamp": time, "created": time})
    rows = draw(st.lists(row, max_size=14))
    for place, drawn in enumerate(rows):
        drawn["value"], drawn["tags"] = float(place), [f"t{place}"] * (place % 3)
    entity = st.fixed_dictionaries({**keys, "event_timestamp": time, "label": st.integers(0, 1)})
    entities = draw(st.lists(entity, max_size=10))
    return kinds, rows, entities + entities[:2]


def table(rows: list[Row], kinds: list[str], more: dict[str, pa.DataType]) -> pa.Table:
    schema = {f"k{i}": KEYS[kind][0] for i, kind in enumerate(kinds)} | {"event_timestamp": STAMP} | more
    return pa.Table.from_pylist(rows, schema=pa.schema(list(schema.items())))


def view(path: Path, kinds: list[str], ttl: timedelta | None) -> FeatureView:
    types = {"text": ValueType.STRING, "number": ValueType.INT64}
    entities = [Entity(name=f"k{i}", join_keys=[f"k{i}"], value_type=types[kind]) for i, kind in enumerate(kinds)]
    source = FileSource(
        name="rows", path=str(path), timestamp_field="event_timestamp", created_timestamp_column="created"
    )
    fields = [Field(name="value", dtype=Float64), Field(name="tags", dtype=Array(String))]
    made = FeatureView(name="v", entities=entities, schema=fields, source=source, ttl=ttl)
    made.entity_columns = [Field(name=f"k{i}", dtype=KEYS[kind][1]) for i, kind in enumerate(kinds)]
    return made


def config(repo: Path, **store: object) -> RepoConfig:
    return RepoConfig(
        project="p",
        provider="local",
        registry=str(repo / "registry.db"),
        offline_store={"type": "feature_repo.stores.offline.AsofOfflineStore", "threads": 1, **store},
        online_store=None,
        entity_key_serialization_version=3,
        repo_path=repo,
    )


def ask(store: type, repo_config: RepoConfig, feature_view: FeatureView, entities: Any, strict: bool = False) -> Any:
    registry = MagicMock()
    registry.list_on_demand_feature_views.return_value = []
    return store.get_historical_features(
        config=repo_config,
        feature_views=[feature_view],
        feature_refs=["v:value", "v:tags"],
        entity_df=entities,
        registry=registry,
        project="p",
        filter_by_created_timestamp=strict,
    )


def write(rows: pa.Table, folder: Path, files: int) -> Path:
    """Write the rows as several files of tiny row groups, in order."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    size = -(-max(rows.num_rows, 1) // files)
    for place in range(files):
        pq.write_table(
            rows.slice(place * size, size),
            folder / f"{place}.parquet",
            row_group_size=3 if rows.num_rows < 100 else 10_000,
        )
    return folder


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("repo")


MORE = {"created": STAMP, "value": pa.float64(), "tags": pa.list_(pa.string())}


@settings(max_examples=120, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), TTLS, st.booleans(), st.integers(1, 3), st.booleans())
def test_equals_the_oracle(
    repo: Path,
    world: tuple[list[str], list[Row], list[Row]],
    ttl: timedelta | None,
    strict: bool,
    files: int,
    tight: bool,
) -> None:
    kinds, rows, entities = world
    path = write(table(rows, kinds, MORE), repo / "rows", files)
    frame = table(entities, kinds, {"label": pa.int64()})
    bounds = {"memory_limit": "1KB"} if tight else {}
    settings_ = config(repo, strict_created_timestamp=strict, **bounds)
    job = ask(AsofOfflineStore, settings_, view(path, kinds, ttl), frame)
    expected = oracle(entities, rows, list(frame.column_names[: len(kinds)]), ttl, strict)
    result = job.to_arrow()
    assert result.select(frame.column_names).equals(frame)
    assert result.select(["value", "tags"]).to_pylist() == expected
    assert pa.concat_tables(job.slices()).equals(result)


@settings(max_examples=20, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds(), TTLS, st.booleans())
def test_equals_the_stock_store_where_its_order_is_defined(
    repo: Path, world: tuple[list[str], list[Row], list[Row]], ttl: timedelta | None, strict: bool
) -> None:
    """Left out, since stock leaves them undefined: rows equal in key, event and created time, rows without a created
    time; since stock fails there: an empty entity frame, null entity times; since it can't be expressed there: a ttl
    that mixes days and seconds."""
    kinds, rows, entities = world
    keys = [f"k{i}" for i in range(len(kinds))]
    distinct = {(*(row[key] for key in keys), row["event_timestamp"], row["created"]): row for row in rows}
    rows = [row for row in distinct.values() if row["created"] is not None]
    entities = [row for row in entities if row["event_timestamp"] is not None]
    if not entities or not rows or (ttl and ttl.days and ttl.seconds):
        return
    path = write(table(rows, kinds, MORE), repo / "stock", 1)
    frame = table(entities, kinds, {"label": pa.int64()}).append_column("row", pa.array(range(len(entities))))
    ours = ask(AsofOfflineStore, config(repo, strict_created_timestamp=strict), view(path, kinds, ttl), frame)
    stock_view = view(path / "*.parquet", kinds, ttl)
    stock_config = config(repo).model_copy()
    stock_config.__dict__["offline_config"] = "duckdb"
    stock_config._offline_store = None
    stock = ask(DuckDBOfflineStore, stock_config, stock_view, frame.to_pandas(), strict).to_arrow().sort_by("row")
    assert (
        ours.to_arrow().select(["row", "value", "tags"]).to_pylist()
        == stock.select(["row", "value", "tags"]).to_pylist()
    )


@pytest.mark.parametrize(("over", "expected"), [(timedelta(0), 1.0), (MICROSECOND, None)])
def test_ttl_is_inclusive_to_the_microsecond(repo: Path, over: timedelta, expected: float | None) -> None:
    ttl = timedelta(days=1, seconds=1, microseconds=1)
    rows = [{"k0": 1, "event_timestamp": START, "created": START, "value": 1.0, "tags": []}]
    path = write(table(rows, ["number"], MORE), repo / "ttl", 1)
    frame = table([{"k0": 1, "event_timestamp": START + ttl + over}], ["number"], {})
    result = ask(AsofOfflineStore, config(repo), view(path, ["number"], ttl), frame).to_arrow()
    assert result["value"].to_pylist() == [expected]


@pytest.mark.parametrize(
    "shown",
    [
        lambda moment: moment,
        lambda moment: moment.replace(tzinfo=None),
        lambda moment: moment.astimezone(timezone(timedelta(hours=5, minutes=30))),
        lambda moment: moment.isoformat(),
        lambda moment: moment.astimezone(timezone(-timedelta(hours=8))).isoformat(sep=" "),
    ],
    ids=["aware", "naive", "zone", "text", "text with offset"],
)
@pytest.mark.parametrize("kind", ["pandas", "arrow"])
def test_any_writing_of_a_time_means_the_same(repo: Path, shown: Any, kind: str) -> None:
    import pandas as pd

    rows = [{"k0": 1, "event_timestamp": START, "created": START, "value": 1.0, "tags": []}]
    path = write(table(rows, ["number"], MORE), repo / "times", 1)
    asked = [START - MICROSECOND, START, START + MICROSECOND]
    columns = {"k0": [1, 1, 1], "event_timestamp": [shown(moment) for moment in asked]}
    frame = pd.DataFrame(columns) if kind == "pandas" else pa.table(columns)
    result = ask(AsofOfflineStore, config(repo), view(path, ["number"], None), frame).to_arrow()
    assert result["value"].to_pylist() == [None, 1.0, 1.0]
    assert result["event_timestamp"].to_pylist() == asked


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "date", "text", "naive"])
def test_any_stored_clock(repo: Path, unit: str) -> None:
    day = datetime(2024, 3, 1, tzinfo=UTC)
    stamps = pa.array([day, day + timedelta(days=1)], STAMP)
    stored = {
        "date": lambda: stamps.cast(pa.timestamp("us")).cast(pa.date32()),
        "text": lambda: pa.array(["2024-03-01T00:00:00Z", "2024-03-02 01:00:00+01:00"]),
        "naive": lambda: stamps.cast(pa.timestamp("us")),
    }.get(unit, lambda: stamps.cast(pa.timestamp(unit, "UTC")))()
    columns = {"k0": [1, 1], "event_timestamp": stored, "created": stored, "value": [1.0, 2.0], "tags": [[], []]}
    path = write(pa.table(columns), repo / f"clock_{unit}", 1)
    asked = [day - MICROSECOND, day, day + timedelta(days=1) - MICROSECOND, day + timedelta(days=1)]
    frame = pa.table({"k0": [1] * 4, "event_timestamp": pa.array(asked, STAMP)})
    result = ask(AsofOfflineStore, config(repo), view(path, ["number"], timedelta(days=1)), frame).to_arrow()
    assert result["value"].to_pylist() == [None, 1.0, 1.0, 2.0]


def test_nanoseconds_on_both_sides_compare_exactly(repo: Path) -> None:
    clock = pa.timestamp("ns", "UTC")
    columns = {
        "k0": [1, 1],
        "event_timestamp": pa.array([1_000_000_007, 1_000_000_009], clock),
        "created": pa.array([0, 0], clock),
        "value": [7.0, 9.0],
        "tags": pa.array([[], []], pa.list_(pa.string())),
    }
    path = write(pa.table(columns), repo / "nanos", 1)
    frame = pa.table({"k0": [1] * 3, "event_timestamp": pa.array([1_000_000_006, 1_000_000_008, 1_000_000_009], clock)})
    result = ask(AsofOfflineStore, config(repo), view(path, ["number"], None), frame).to_arrow()
    assert result["value"].to_pylist() == [None, 7.0, 9.0]


def test_many_rows_in_one_pass_and_in_many(repo: Path) -> None:
    """Codes, row numbers and times that fill more than 32 bits together, against DuckDB's own ASOF join."""
    import duckdb
    import numpy as np

    rng = np.random.default_rng(0)
    day = 86_400_000_000
    event = rng.integers(0, 90 * day, 60_000)
    rows = pa.table(
        {
            "k0": rng.integers(0, 4_000, 60_000) * 1_000_003,
            "event_timestamp": pa.array(event).cast(STAMP),
            "created": pa.array(event + rng.integers(0, day, 60_000)).cast(STAMP),
            "value": np.arange(60_000.0),
            "tags": pa.array([[]] * 60_000, pa.list_(pa.string())),
        }
    )
    path = write(rows.combine_chunks(), repo / "many", 1)
    frame = pa.table(
        {
            "k0": rng.integers(0, 5_000, 40_000) * 1_000_003,
            "event_timestamp": pa.array(rng.integers(0, 95 * day, 40_000)).cast(STAMP),
            "row": np.arange(40_000),
        }
    )
    results = []
    for strict, bounds in [(False, {}), (False, {"memory_limit": "3MB"}), (True, {}), (True, {"memory_limit": "3MB"})]:
        job = ask(
            AsofOfflineStore,
            config(repo, strict_created_timestamp=strict, **bounds),
            view(path, ["number"], None),
            frame,
        )
        results.append(job.to_arrow()["value"].to_pylist())
    assert results[0] == results[1]
    assert results[2] == results[3]
    with duckdb.connect() as connection:
        connection.register("rows", rows.select(["k0", "event_timestamp", "value"]))
        connection.register("frame", frame)
        found = connection.sql(
            "SELECT r.value FROM frame f ASOF LEFT JOIN rows r "
            "ON f.k0 = r.k0 AND f.event_timestamp >= r.event_timestamp ORDER BY f.row"
        ).fetchall()
    assert results[0] == [value for (value,) in found]
    assert results[2] != results[0]
