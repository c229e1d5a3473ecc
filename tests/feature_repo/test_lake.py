"""The lake as its readers see it: views, roles, the clock; a file exists once the manifest names it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feature_repo.config import Config, Roles, load_config
from feature_repo.errors import ContractError, MissingError
from feature_repo.lake import JOURNAL, POSTED_CLOCK, Lake, Manifest, quote
from feature_repo.loading import LoadOptions, load_source

MAPPING = """
name: shop
events: {files: e.csv, types: {buy: {weight: 1}, "it's": {weight: 0.5, consuming: false}, view: {}}}
"""
EVENTS = """user_id,item_id,event_timestamp,event_type
u1,1,2024-01-01,buy
u1,2,2024-01-02,it's
u2,2,2024-01-03 12:00:00.000001,view
"""
LAST = datetime(2024, 1, 3, 12, 0, 0, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config()


@pytest.fixture
def lake(tmp_path: Path, config: Config) -> Lake:
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    (tmp_path / "e.csv").write_text(EVENTS)
    lake = Lake(tmp_path / "data")
    load_source(str(tmp_path), lake, LoadOptions(config=config))
    return lake


def _columns(lake: Lake, config: Config, table: str) -> dict[str, str]:
    with lake.connect(config) as connection:
        return {row[0]: row[1] for row in connection.execute(f"DESCRIBE {table}").fetchall()}


def test_events_carry_weight_and_consuming(lake, config):
    with lake.connect(config) as connection:
        rows = connection.execute("SELECT event_type, target_weight, consuming FROM events ORDER BY 1").fetchall()
    assert rows == [("buy", 1.0, True), ("it's", 0.5, False), ("view", 0.0, False)]


def test_tables_that_the_source_does_not_have_are_empty(lake, config):
    assert _columns(lake, config, "users") == {"user_id": "VARCHAR", "event_timestamp": "TIMESTAMP WITH TIME ZONE"}
    assert _columns(lake, config, "items") == {
        "item_id": "BIGINT",
        "event_timestamp": "TIMESTAMP WITH TIME ZONE",
        "title": "VARCHAR",
        "categories": "VARCHAR[]",
        "released_at": "TIMESTAMP WITH TIME ZONE",
    }
    with lake.connect(config) as connection:
        assert connection.execute("SELECT count(*) FROM users, items").fetchone() == (0,)


def test_roles_of_the_configuration_win(lake, config):
    roles = Roles(targets={"view": 3.0}, consuming=["view", "buy"])
    with lake.connect(config.model_copy(update={"events": roles})) as connection:
        rows = connection.execute("SELECT event_type, target_weight, consuming FROM events ORDER BY 1").fetchall()
    assert rows == [("buy", 0.0, True), ("it's", 0.0, False), ("view", 3.0, True)]


def test_roles_of_unknown_types_are_an_error(lake, config):
    roles = Roles(targets={"buys": 1.0}, consuming=[])
    with pytest.raises(ContractError, match=r'event types of the log \(buy, it\'s, view\), got \'buys\'.*mean "buy"'):
        lake.connect(config.model_copy(update={"events": roles}))


def test_the_declared_clock(lake, config):
    assert lake.now(config) == LAST + timedelta(microseconds=1)
    moment = datetime(2024, 2, 1, tzinfo=UTC)
    assert lake.now(config.model_copy(update={"now": moment})) == moment
    wall = lake.now(config.model_copy(update={"now": "wall-clock"}))
    posted = lake.data_dir / JOURNAL / POSTED_CLOCK
    posted.parent.mkdir(exist_ok=True)
    for served, now in ((LAST + timedelta(hours=1), LAST + timedelta(hours=1)), (LAST - timedelta(hours=1), LAST)):
        posted.write_text(json.dumps({"now": served.isoformat()}))
        assert lake.now(config) == now + timedelta(microseconds=1)
    posted.unlink()
    assert abs(datetime.now(UTC) - wall) < timedelta(minutes=1)


def test_the_time_range(lake):
    assert lake.time_range() == (datetime(2024, 1, 1, tzinfo=UTC), LAST)


def test_the_manifest_survives_its_file(lake):
    manifest = lake.manifest()
    lake.commit(manifest)
    assert lake.manifest() == manifest
    assert (manifest.name, manifest.user_id_type, manifest.item_id_type) == ("shop", "string", "int64")
    assert manifest.files("events") == ["events/000001.parquet"]
    assert json.loads(lake.manifest_path.read_text())["loads"][0]["rows"] == {"events": 3}


def test_files_that_the_manifest_does_not_name_do_not_exist(lake, config):
    (lake.root / "events" / "000002.parquet").write_bytes(b"torn")
    with lake.connect(config) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (3,)


def test_the_fingerprint_follows_the_loads(lake, tmp_path, config):
    first = lake.fingerprint()
    twin = Lake(tmp_path / "twin")
    load_source(str(tmp_path), twin, LoadOptions(config=config))
    assert twin.fingerprint() == first
    (tmp_path / "e.csv").write_text(EVENTS + "u3,2,2024-01-04,view\n")
    load_source(str(tmp_path), lake, LoadOptions(config=config))
    assert lake.fingerprint() != first


def test_a_lake_without_a_load(tmp_path, config):
    lake = Lake(tmp_path)
    assert not lake.exists()
    with pytest.raises(MissingError, match=r"Run `rankhouse load SOURCE` first"):
        lake.connect(config)


def test_a_manifest_is_never_half_written(lake, monkeypatch):
    import os

    before = lake.manifest_path.read_bytes()

    def fail(source: object, target: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        lake.commit(replace(lake.manifest(), name="other"))
    assert lake.manifest_path.read_bytes() == before


def test_times_are_utc_whatever_the_machine_says(lake, config, monkeypatch):
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        with lake.connect(config) as connection:
            assert connection.execute("SELECT max(event_timestamp)::VARCHAR FROM events").fetchone() == (
                "2024-01-03 12:00:00.000001+00",
            )
        assert lake.time_range()[1] == LAST
    finally:
        monkeypatch.undo()
        time.tzset()


def test_quotes_are_doubled():
    assert quote("it's") == "'it''s'"


def test_a_manifest_without_loads_has_no_files():
    assert Manifest("x", "int64", "int64", roles={}).files("events") == []
