from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from feature_repo.errors import ConfigError
from feature_repo.stores.packed_clock import Clock, microseconds


def test_an_iso_time_stands_still(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    path.write_text('{"now": "2020-01-01"}')
    assert Clock("1970-01-01T00:00:01.000002+00:00", path).now() == 1_000_002
    assert Clock("1970-01-01T01:00:00+01:00", path).now() == 0
    assert Clock("1969-12-31T23:59:59.999999", path).now() == -1


def test_the_data_directorys_clock_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    clock = Clock("data", path)
    before = time.time_ns() // 1000
    assert before <= clock.now() <= time.time_ns() // 1000
    path.write_text('{"now": "1970-01-01T00:00:02Z"}')
    assert clock.now() == 2_000_000
    other = tmp_path / "new.json"
    other.write_text('{"now": "1970-01-01T00:00:03Z"}')
    os.replace(other, path)
    assert clock.now() == 3_000_000
    assert Clock("wall", path).now() >= before


@pytest.mark.parametrize("text", ["", "[]", '{"then": 1}', '{"now": 5}', '{"now": "soon"}'])
def test_a_broken_clock_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "clock.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"clock\.json"):
        Clock("data", path).now()


def test_a_setting_must_be_a_time() -> None:
    with pytest.raises(ConfigError, match="ISO time"):
        microseconds("tomorrow", "feature_store.yaml")
