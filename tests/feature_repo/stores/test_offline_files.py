"""What the offline store reads and writes on disk: sources of every shape, pruning, pulls, appends, logs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.errors import FeastJoinKeysDuringMaterialization
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.repo_config import RepoConfig
from feast.types import Int64

from feature_repo.errors import ContractError, DataError, MissingError
from feature_repo.stores.duckdb_scan import DuckDBScan
from feature_repo.stores.offline import AsofOfflineStore, store_settings
from feature_repo.stores.parquet_writer import append, append_partitioned
from feature_repo.stores.sources import open_parquet

STAMP = pa.timestamp("us", "UTC")
DAY = timedelta(days=1)
START = datetime(2024, 1, 1, tzinfo=UTC)
TICK = 86_400_000_000
FIRST = int(START.timestamp()) * 10**6


def days(*numbers: float) -> pa.Array:
    return pa.array([START + number * DAY for number in numbers], STAMP)


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


def rows(start: int, stop: int) -> pa.Table:
    number = np.arange(start, stop)
    stamps = pa.array(FIRST + number * TICK, pa.int64()).cast(STAMP)
    return pa.table({"id": number % 3, "event_timestamp": stamps, "f": number})


def read(scan) -> list[int]:
    return [value for _, table in scan.batches(["f"]) for value in table["f"].to_pylist()]


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Thirty days in three files, and the same ones in folders by month-like parts; hidden files in between."""
    for place in range(3):
        part = rows(place * 10, place * 10 + 10)
        for folder in (tmp_path / "flat", tmp_path / "hive" / f"part={place}" / "country=a%2Fb"):
            folder.mkdir(parents=True, exist_ok=True)
            pq.write_table(part, folder / f"{place}.parquet", row_group_size=5)
    (tmp_path / "flat" / ".half-written.parquet").write_bytes(b"no parquet")
    (tmp_path / "flat" / "_temporary").mkdir()
    (tmp_path / "flat" / "_temporary" / "x.parquet").write_bytes(b"no parquet")
    return tmp_path


@pytest.mark.parametrize("path", ["flat", "flat/", "flat/*.parquet", "hive", "hive/*/*/*.parquet", "hive/**/*.parquet"])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_shape_reads_in_order_of_name(lake: Path, path: str, threads: int) -> None:
    scan = open_parquet(path, lake, threads)
    assert scan.rows == 30
    assert read(scan) == list(range(30))


def test_folder_names_are_columns(lake: Path) -> None:
    scan = open_parquet("hive", lake)
    assert scan.schema.field("part").type == pa.int64()
    table = pa.concat_tables(table for _, table in scan.batches(["part", "country"]))
    assert table["part"].to_pylist() == [0] * 10 + [1] * 10 + [2] * 10
    assert set(table["country"].to_pylist()) == {"a/b"}


def test_single_file_and_what_is_no_source(lake: Path) -> None:
    assert read(open_parquet("flat/1.parquet", lake)) == list(range(10, 20))
    with pytest.raises(MissingError, match="nothing"):
        open_parquet("flat/*.csv", lake)
    with pytest.raises(DataError, match="half-written"):
        open_parquet("flat/.half-written.parquet", lake)


def test_only_row_groups_in_reach_are_read(lake: Path) -> None:
    scan = open_parquet("flat", lake)
    pruned = scan.prune({"event_timestamp": (FIRST + 12 * TICK, FIRST + 16 * TICK)})
    assert read(pruned) == list(range(10, 20))
    assert [group.start for group in pruned.groups] == [0, 5]
    assert read(pruned.prune({"f": (12, 12)})) == list(range(10, 15))
    assert read(scan.prune({"f": (100, 200)})) == []


def test_only_row_groups_with_wanted_rows_are_read(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = open_parquet("flat", lake)
    calls = []
    original = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, index: int, **options: object) -> pa.Table:
        calls.append((index, tuple(options["columns"])))
        return original(self, index, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    found = list(scan.batches(["f"], np.array([7, 21, 22])))
    assert [(place, table["f"].to_pylist()) for place, table in found] == [(0, [7]), (1, [21, 22])]
    assert calls == [(1, ("f",)), (0, ("f",))]


def test_files_may_differ_in_columns_and_widths(tmp_path: Path) -> None:
    pq.write_table(pa.table({"f": pa.array([1], pa.int32())}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"f": pa.array([2], pa.int64()), "g": ["x"]}), tmp_path / "2.parquet")
    scan = open_parquet(str(tmp_path), tmp_path)
    tables = [table for _, table in scan.batches(["f", "g"])]
    assert pa.concat_tables(tables).to_pydict() == {"f": [1, 2], "g": [None, "x"]}
    pq.write_table(pa.table({"f": ["text"]}), tmp_path / "3.parquet")
    with pytest.raises(DataError, match="one schema"):
        open_parquet(str(tmp_path), tmp_path)


def test_paths_with_a_scheme_go_through_duckdb(lake: Path) -> None:
    scan = DuckDBScan(f"file://{lake}/hive/*/*/*.parquet", store_settings(config(lake)))
    pruned = scan.prune({"event_timestamp": (FIRST + 12 * TICK, FIRST + 16 * TICK)})
    assert (pruned.rows, read(pruned)) == (5, [12, 13, 14, 15, 16])
    wanted = [table["f"].to_pylist() for _, table in pruned.batches(["f"], np.array([0, 3]))]
    assert wanted == [[12, 15]]
    frame = pa.table({"id": [0, 1, 2], "event_timestamp": days(20.5, 20.5, 0)})
    both = []
    for path in (f"file://{lake}/hive/*/*/*.parquet", "flat"):
        job = AsofOfflineStore.get_historical_features(
            config(lake), [view(path)], ["v:f"], frame, SimpleNamespace(list_on_demand_feature_views=no_views), "p"
        )
        both.append(job.to_arrow()["f"].to_pylist())
    assert both == [[18, 19, None]] * 2


def no_views(*_: object, **__: object) -> list[object]:
    return []


def view(path: str) -> FeatureView:
    entity = Entity(name="id", join_keys=["id"], value_type=ValueType.INT64)
    source = FileSource(name="s", path=path, timestamp_field="event_timestamp")
    fields = [Field(name="id", dtype=Int64), Field(name="f", dtype=Int64)]
    made = FeatureView(name="v", entities=[entity], schema=fields, source=source)
    made.entity_columns = [Field(name="id", dtype=Int64)]
    return made


def pull(repo: Path, source: FileSource, keys: list[str], latest: bool, features: tuple[str, ...] = ("f",)) -> pa.Table:
    method = (
        AsofOfflineStore.pull_latest_from_table_or_query if latest else AsofOfflineStore.pull_all_from_table_or_query
    )
    created = source.created_timestamp_column or None
    job = method(
        config(repo), source, keys, list(features), "event_timestamp", created, START + 5 * DAY, START + 9 * DAY
    )
    return job.to_arrow()


def test_pull_all_takes_both_ends(lake: Path) -> None:
    source = FileSource(name="s", path="flat", timestamp_field="event_timestamp")
    table = pull(lake, source, ["id"], latest=False)
    assert table.column_names == ["id", "f", "event_timestamp"]
    assert table["f"].to_pylist() == [5, 6, 7, 8, 9]
    assert pull(lake, source, ["id"], latest=False, features=()).column_names == ["id", "event_timestamp", "f"]


def test_pull_latest_takes_one_row_per_key(lake: Path) -> None:
    source = FileSource(name="s", path="flat", timestamp_field="event_timestamp")
    assert pull(lake, source, ["id"], latest=True).sort_by("id")["f"].to_pylist() == [9, 7, 8]
    one = pull(lake, source, [], latest=True)
    assert (one["f"].to_pylist(), one["__dummy_id"].to_pylist()) == ([9], [""])
    with pytest.raises(FeastJoinKeysDuringMaterialization):
        pull(lake, source, ["nobody"], latest=True)
    with pytest.raises(ContractError, match="Did you mean"):
        pull(lake, source, ["id"], latest=True, features=("ff",))


def test_pull_latest_breaks_ties_by_created_then_place(tmp_path: Path) -> None:
    columns = {
        "id": ["a", "a", "a", "b", "b", None, "c"],
        "event_timestamp": days(6, 6, 5, 7, 7, 7, 20),
        "created": pa.array([START + 2 * DAY, START, START + 9 * DAY, None, None, START, START], STAMP),
        "f": [1, 2, 3, 4, 5, 6, 7],
    }
    pq.write_table(pa.table(columns), tmp_path / "s.parquet")
    source = FileSource(
        name="s", path="s.parquet", timestamp_field="event_timestamp", created_timestamp_column="created"
    )
    assert pull(tmp_path, source, ["id"], latest=True)["f"].to_pylist() == [1, 5]


@pytest.mark.parametrize("latest", [True, False])
@pytest.mark.parametrize("units", [("us", "ns"), ("ns", "us"), ("ms", "ns"), ("ns", "ms")])
def test_pull_reads_event_and_created_times_of_different_units(
    tmp_path: Path, units: tuple[str, str], latest: bool
) -> None:
    event, created = (pa.timestamp(unit, "UTC") for unit in units)
    stamps = days(4, 5, 7, 9, 10)
    table = pa.table(
        {"id": [1, 2, 2, 3, 4], "event_timestamp": stamps.cast(event), "created": stamps.cast(created), "f": range(5)}
    )
    pq.write_table(table, tmp_path / "s.parquet")
    source = FileSource(
        name="s", path="s.parquet", timestamp_field="event_timestamp", created_timestamp_column="created"
    )
    found = pull(tmp_path, source, ["id"], latest)
    assert found["f"].to_pylist() == ([2, 3] if latest else [1, 2, 3])
    assert {found.schema.field(name).type for name in ("event_timestamp", "created")} == {STAMP}


def test_pull_latest_of_many(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    keys, times = rng.integers(0, 5_000, 100_000), rng.integers(0, 10**12, 100_000)
    stamps = pa.array(FIRST + times, pa.int64()).cast(STAMP)
    pq.write_table(pa.table({"id": keys, "event_timestamp": stamps, "f": np.arange(100_000)}), tmp_path / "s.parquet")
    source = FileSource(name="s", path="s.parquet", timestamp_field="event_timestamp")
    everything = (config(tmp_path), source, ["id"], ["f"], "event_timestamp", None, START, START + 30 * DAY)
    found = AsofOfflineStore.pull_latest_from_table_or_query(*everything).to_arrow()
    order = np.lexsort((np.arange(100_000), times))
    expected = dict(zip(keys[order].tolist(), order.tolist(), strict=True))
    assert dict(zip(found["id"].to_pylist(), found["f"].to_pylist(), strict=True)) == expected
    assert found.num_rows == len(expected)


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("flat", 3, 4),
        ("flat/*.parquet", 3, 4),
        ("flat/1.parquet", 3, 3),
        ("new", 0, 1),
        ("new/file.parquet", 0, 1),
        ("hive/**/*.parquet", 3, 4),
    ],
)
def test_appending_adds_a_file(lake: Path, path: str, before: int, after: int) -> None:
    folder = lake / path.split("/")[0]
    count = lambda: len([p for p in folder.rglob("*.parquet") if p.name[0] != "." and "_" not in p.parent.name])  # noqa: E731
    kept = {p: p.read_bytes() for p in folder.rglob("*.parquet")} if folder.exists() else {}
    assert count() == before if folder.exists() else before == 0
    more = rows(30, 33)
    if path.startswith("hive"):
        more = more.append_column("part", pa.array([2, 2, 2])).append_column("country", pa.array(["a/b"] * 3))
    AsofOfflineStore.offline_write_batch(config(lake), view(path), more, None)
    assert count() == after
    values = read(open_parquet(path, lake))
    assert values[-3:] == [30, 31, 32]
    if not path.endswith(("1.parquet", "file.parquet")):
        assert all(p.read_bytes() == content for p, content in kept.items())


def test_appended_columns_must_be_the_sources(lake: Path) -> None:
    with pytest.raises(ValueError, match="in this order"):
        AsofOfflineStore.offline_write_batch(config(lake), view("flat"), rows(0, 1).select(["f", "id"]), None)


def test_appends_number_their_files(tmp_path: Path) -> None:
    for start in range(3):
        append(rows(start, start + 1), tmp_path / "v")
    assert sorted(p.name for p in (tmp_path / "v").iterdir()) == [f"rows-{n:06d}.parquet" for n in (1, 2, 3)]
    assert read(open_parquet("v", tmp_path)) == [0, 1, 2]


def test_partitioned_appends_keep_nulls_and_odd_names(tmp_path: Path) -> None:
    table = pa.table({"k": ["a/b", None, "a/b", "ü=1"], "f": [1, 2, 3, 4]})
    append_partitioned(table, tmp_path / "v", ["k"])
    scan = open_parquet("v", tmp_path)
    found = pa.concat_tables(part for _, part in scan.batches(["k", "f"])).sort_by("f")
    assert found["k"].to_pylist() == ["a/b", None, "a/b", "ü=1"]


@pytest.mark.parametrize("as_path", [False, True])
def test_logs_are_appended_by_partition(tmp_path: Path, as_path: bool) -> None:
    table = rows(0, 4).append_column("day", pa.array(["x", "x", "y", "y"]))
    data: pa.Table | Path = table
    if as_path:
        data = tmp_path / "chunk"
        data.mkdir()
        pq.write_table(table, data / "0.parquet")
    logging = SimpleNamespace(destination=FileLoggingDestination(path=str(tmp_path / "logs"), partition_by=["day"]))
    for _ in range(2):
        AsofOfflineStore.write_logged_features(config(tmp_path), data, None, logging, None)
    scan = open_parquet("logs", tmp_path)
    assert scan.rows == 8
    assert {p.parent.name for p in (tmp_path / "logs").rglob("*.parquet")} == {"day=x", "day=y"}


def test_column_names_and_types_of_a_folder(lake: Path) -> None:
    source = FileSource(name="s", path="hive", timestamp_field="event_timestamp")
    found = dict(AsofOfflineStore().get_table_column_names_and_types_from_data_source(config(lake), source))
    assert found == {
        "id": "int64",
        "event_timestamp": "timestamp[us, tz=UTC]",
        "f": "int64",
        "part": "int64",
        "country": "string",
    }
