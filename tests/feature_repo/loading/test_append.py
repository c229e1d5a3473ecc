"""Appending: the lake is a multiset that only grows, a load takes effect as a whole, the past stays as it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.errors import ContractError, DataError
from feature_repo.lake import ALWAYS, Lake
from feature_repo.loading import LoadOptions, World, load_source

HEADER = "user_id,item_id,event_timestamp,event_type,value\n"
MAPPING = """
name: x
events: {files: e.csv, time: {unit: us}, types: {buy: {weight: 1}, view: {}}}
"""
DAY = 86_400_000_000

Event = tuple[int, int, int, str, float | None]

events = st.tuples(
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(0, 4).map(lambda day: day * DAY),
    st.sampled_from(["buy", "view"]),
    st.sampled_from([None, 1.5]),
)


def _csv(rows: list[Event]) -> str:
    return HEADER + "".join(f"{u},{i},{t},{kind},{'' if v is None else v}\n" for u, i, t, kind, v in rows)


def _expected(exports: list[list[Event]]) -> Counter:
    """What the lake must hold, slowly: per event the larger of its counts, since a repeated export adds nothing."""
    held: Counter = Counter()
    for export in exports:
        held |= Counter(export)
    return held


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(exports=st.lists(st.lists(events, min_size=1, max_size=8), min_size=1, max_size=3))
def test_any_sequence_of_exports(tmp_path_factory, options, exports):
    folder = tmp_path_factory.mktemp("exports")
    lake = Lake(folder / "data")
    (folder / "mapping.yaml").write_text(MAPPING)
    for export in exports:
        (folder / "e.csv").write_text(_csv(export))
        old = {path: path.read_bytes() for path in lake.root.rglob("*.parquet")}
        load_source(str(folder), lake, options)
        assert {path: path.read_bytes() for path in old} == old
    held = Counter()
    for path in lake.paths("events"):
        rows = pq.read_table(path).to_pylist()
        keys = [(row["event_timestamp"], row["user_id"], row["item_id"], row["event_type"]) for row in rows]
        assert keys == sorted(keys)
        held.update(
            (u, i, t.timestamp() * 1e6, kind, v) for (t, u, i, kind), v in zip(keys, _values(rows), strict=True)
        )
    assert held == _expected(exports)


def _values(rows: list[dict]) -> list[float | None]:
    return [row["value"] for row in rows]


def test_the_same_file_twice_adds_nothing_and_changes_no_byte(write, load, digest):
    source = write({"e.csv": _csv([(1, 1, 0, "buy", None)]), "mapping.yaml": MAPPING})
    load(source)
    before = digest()
    report = load(source)
    assert (report.added["events"], report.duplicates) == (0, 0)
    assert digest() == before


def test_rows_that_are_all_known_change_no_byte(write, load, digest):
    rows: list[Event] = [(1, 1, 0, "buy", None), (2, 1, DAY, "view", None)]
    load(write({"e.csv": _csv(rows), "mapping.yaml": MAPPING}))
    before = digest()
    report = load(write({"e.csv": _csv(rows[::-1])}))
    assert (report.added["events"], report.duplicates) == (0, 2)
    assert digest() == before


def test_parquet_is_as_the_lake_promises(load, lake):
    load("synthetic", world=World(users=400, items=60, days=100, seed=1))
    file = pq.ParquetFile(lake.paths("events")[0])
    schema = {field.name: str(field.type) for field in file.schema_arrow}
    assert schema == {
        "user_id": "int64",
        "item_id": "int64",
        "event_timestamp": "timestamp[us, tz=UTC]",
        "event_type": "string",
        "value": "double",
        "origin": "string",
    }
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    items = pq.read_schema(lake.paths("items")[0])
    assert str(items.field("categories").type) == "list<element: string>"
    assert str(items.field("released_at").type) == "timestamp[us, tz=UTC]"


def test_row_groups_are_small_enough_to_skip(load, lake, options):
    load("synthetic", world=World(users=3000, items=60, days=100, seed=1))
    metadata = pq.ParquetFile(lake.paths("events")[0]).metadata
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert sum(sizes) > 122_880
    assert set(sizes[:-1]) == {122_880}


@pytest.mark.parametrize("threads", [1, 2])
def test_same_source_and_seed_give_the_same_bytes(tmp_path, options, threads):
    worlds = []
    for number in range(2):
        lake = Lake(tmp_path / f"{threads}-{number}")
        engine = options.config.engine.model_copy(update={"threads": threads + number})
        config = options.config.model_copy(update={"engine": engine})
        load_source("synthetic", lake, replace(options, config=config, world=World(300, 50, 20, seed=3)))
        worlds.append({path.name: path.read_bytes() for path in lake.root.rglob("*") if path.is_file()})
    assert worlds[0] == worlds[1]


# A load that dies


def test_a_load_killed_before_the_commit_has_no_effect(write, load, lake, digest, rows, monkeypatch):
    load(write({"e.csv": _csv([(1, 1, 0, "buy", None)]), "mapping.yaml": MAPPING}))
    before = digest()
    later = write({"e.csv": _csv([(1, 1, 0, "buy", None), (2, 1, DAY, "buy", None)])})

    def die(self: Lake, manifest: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Lake, "commit", die)
        with pytest.raises(KeyboardInterrupt):
            load(later)
    orphan = lake.root / "events" / "000002.parquet"
    assert orphan.exists()
    assert {name: value for name, value in digest().items() if name in before} == before
    assert rows("SELECT count(*) FROM events") == [(1,)]
    orphan.write_bytes(b"torn")
    load(later)
    assert rows("SELECT count(*) FROM events") == [(2,)]


def test_a_failing_write_leaves_no_temporary_file(write, load, lake, monkeypatch):
    import os

    def fail(source: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        load(write({"e.csv": _csv([(1, 1, 0, "buy", None)]), "mapping.yaml": MAPPING}))
    assert [path for path in lake.root.rglob("*") if path.is_file()] == []


def test_two_loads_at_once_do_not_overwrite_each_other(write, lake, options, monkeypatch):
    from feature_repo.loading import load as module

    source = write({"e.csv": _csv([(1, 1, 0, "buy", None)]), "mapping.yaml": MAPPING})
    other = write({"e.csv": _csv([(2, 2, 0, "buy", None)]), "mapping.yaml": MAPPING}, "other")
    settle = module.settle_duplicates

    def meanwhile(*arguments: object) -> None:
        monkeypatch.setattr(module, "settle_duplicates", settle)
        load_source(str(other), lake, options)
        settle(*arguments)

    monkeypatch.setattr(module, "settle_duplicates", meanwhile)
    with pytest.raises(ContractError, match="another load meanwhile"):
        load_source(str(source), lake, options)
    assert load_source(str(source), lake, options).added["events"] == 1


# Users and items through time

ITEMS = """
name: x
events: {files: e.csv, time: {unit: us}, types: {buy: {weight: 1}, view: {}}}
items: {files: i.csv, attributes: {price: number, brand: category}}
"""


@pytest.fixture
def day(write, load) -> Callable[[int, str], object]:
    """Load an export of one event on a day and some items."""

    def run(number: int, items: str) -> object:
        return load(write({"e.csv": _csv([(1, 1, number * DAY, "buy", None)]), "i.csv": items, "mapping.yaml": ITEMS}))

    return run


def _at(day: int, microseconds: int = 0) -> datetime:
    return ALWAYS + timedelta(days=day, microseconds=microseconds)


def test_a_change_without_a_time_is_known_since_the_end_of_the_log(day, rows):
    day(1, "item_id,title,price,brand\n1,A,1,x\n2,B,2,\n")
    report = day(2, "item_id,title,price,brand\n1,A,1,x\n2,B,3,\n3,C,,\n")
    assert report.added == {"events": 1, "items": 2}
    assert rows("SELECT item_id, event_timestamp, title, price, brand FROM items ORDER BY 1, 2") == [
        (1, ALWAYS, "A", 1.0, "x"),
        (2, ALWAYS, "B", 2.0, None),
        (2, _at(2, 1), "B", 3.0, None),
        (3, ALWAYS, "C", None, None),
    ]
    assert day(3, "item_id,title,price,brand\n1,A,1,x\n2,B,3,\n3,C,,\n").added["items"] == 0
    assert day(4, "item_id,title,price,brand\n2,B,2,\n").added["items"] == 1
    assert rows("SELECT event_timestamp, price FROM items WHERE item_id = 2 ORDER BY 1 DESC LIMIT 1") == [
        (_at(4, 1), 2)
    ]


def test_two_changes_without_events_between_stay_in_order(day, rows):
    for price in (1, 2, 3):
        day(1, f"item_id,title,price,brand\n1,A,{price},x\n")
    assert rows("SELECT event_timestamp, price FROM items ORDER BY 1") == [
        (ALWAYS, 1.0),
        (_at(1, 1), 2.0),
        (_at(1, 2), 3.0),
    ]


def test_versions_with_times_of_their_own(day, rows):
    header = "item_id,event_timestamp,title,price,brand\n"
    day(1, header + "1,1970-01-01,A,1,x\n1,1970-01-03,A,2,x\n2,,B,9,\n")
    report = day(4, header + "1,1970-01-01,A,1,x\n1,1970-01-03,A,2,x\n1,1970-01-04,A,3,x\n2,,B,9,\n")
    assert report.added["items"] == 1
    assert day(5, header + "1,1970-01-04,A,5,x\n").added["items"] == 1  # the same time, another content: a correction
    assert rows("SELECT item_id, event_timestamp, price FROM items ORDER BY 1, 2") == [
        (1, _at(0), 1.0),
        (1, _at(2), 2.0),
        (1, _at(3), 3.0),
        (1, _at(5, 1), 5.0),
        (2, ALWAYS, 9.0),
    ]
    assert day(5, header + "1,1970-01-04,A,5,x\n1,1970-01-01,A,1,x\n").added["items"] == 0


def test_a_declared_clock_stamps_changes(write, load, options, rows):
    now = datetime(2025, 5, 1, tzinfo=UTC)
    config = options.config.model_copy(update={"now": now})
    for price in (1, 2):
        items = f"item_id,price,brand\n1,{price},x\n"
        source = write({"e.csv": _csv([(1, 1, DAY, "buy", None)]), "i.csv": items, "mapping.yaml": ITEMS})
        load(source, config=config)
    assert rows("SELECT event_timestamp, price FROM items ORDER BY 1") == [(ALWAYS, 1.0), (now, 2.0)]


def test_attributes_may_be_added_and_left_out_later(write, load, rows, lake):
    def export(number: int, attributes: str, items: str) -> None:
        mapping = ITEMS.replace("{price: number, brand: category}", attributes)
        files = {"e.csv": _csv([(1, 1, number * DAY, "buy", None)]), "i.csv": items, "mapping.yaml": mapping}
        load(write(files))

    export(1, "{price: number}", "item_id,title,price\n1,A,1\n2,B,2\n")
    export(2, "{brand: category}", "item_id,brand\n1,x\n")
    assert lake.manifest().item_attributes == {"price": "number", "brand": "category"}
    assert rows("SELECT item_id, title, price, brand FROM items ORDER BY 1, event_timestamp") == [
        (1, "A", 1.0, None),
        (1, "A", 1.0, "x"),
        (2, "B", 2.0, None),
    ]
    with pytest.raises(DataError, match=r"item attribute brand: expected category, as in the lake, got text"):
        export(3, "{brand: text}", "item_id,brand\n1,x\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name: x", "name: y"), r"name of the data set: expected x, as in the lake, got y"),
        (("buy: {weight: 1}", "buy: {weight: 2}"), r"event type buy: expected weight 1, consuming, .* got weight 2"),
        (("buy: {weight: 1}, view: {}", "buy: {}, view: {weight: 1}"), r"event type buy"),
        (("view: {}", "view: {consuming: true}"), r"event type view: expected weight 0, not consuming"),
    ],
)
def test_a_later_load_does_not_redefine_the_lake(write, load, digest, change, message):
    both: list[Event] = [(1, 1, 0, "buy", None), (1, 1, 0, "view", None)]
    load(write({"e.csv": _csv(both), "mapping.yaml": MAPPING}))
    before = digest()
    with pytest.raises(DataError, match=message):
        load(write({"e.csv": _csv(both), "mapping.yaml": MAPPING.replace(*change)}))
    assert digest() == before


def test_a_later_load_may_bring_a_new_event_type(write, load, lake, options):
    load(write({"e.csv": _csv([(1, 1, 0, "buy", None)]), "mapping.yaml": MAPPING}))
    types = "types: {rent: {weight: 0.5, consuming: false}}"
    mapping = f"name: x\nevents: {{files: e.csv, time: {{unit: us}}, {types}}}\n"
    load(write({"e.csv": _csv([(1, 1, DAY, "rent", None)]), "mapping.yaml": mapping}))
    roles = lake.roles(options.config)
    assert (roles.targets, roles.consuming) == ({"buy": 1.0, "rent": 0.5}, ["buy"])


def test_a_small_memory_limit_spills(tmp_path, options):
    lake = Lake(tmp_path / "data")
    engine = options.config.engine.model_copy(update={"memory_limit": "200MB"})
    config = options.config.model_copy(update={"engine": engine})
    report = load_source("synthetic", lake, LoadOptions(config=config, world=World(3000, 100, 100, seed=1)))
    assert report.added["events"] > 140_000
    assert not list((tmp_path / "data").glob("spill/*"))
