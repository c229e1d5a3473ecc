"""rankhouse.yaml: what ships is valid, and every fault is one message that names the key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_repo.config import Config, Roles, load_config
from feature_repo.errors import ConfigError

VALID = """\
events: from-data
now: end-of-log
split:
  train: [{quantile: 0.5}, {quantile: 0.6}, {quantile: 0.7}]
  validation: {quantile: 0.8}
  test: {quantile: 0.9}
candidates:
  sources:
    recent_popularity: {class: candidate_gen.popularity.RecentPopularity, depth: 60}
service: ranker_v1
engine: {memory_limit: 4GB}
"""


@pytest.fixture
def changed(tmp_path: Path):
    """Read a valid configuration with one text replaced."""

    def run(old: str, new: str) -> Config:
        assert old in VALID
        path = tmp_path / "rankhouse.yaml"
        path.write_text(VALID.replace(old, new), encoding="utf-8")
        return load_config(path)

    return run


def test_the_shipped_configuration():
    config = load_config()
    assert config.events == "from-data"
    assert config.split.test.quantile == 0.9
    assert {"recent_popularity", "als", "bm25_knn"} <= config.candidates.sources.keys()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-01", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-01-01 10:00:00+02:00", datetime(2024, 1, 1, 8, tzinfo=UTC)),
        ('"2024-01-01T10:00:00"', datetime(2024, 1, 1, 10, tzinfo=UTC)),
        ("wall-clock", "wall-clock"),
    ],
)
def test_the_clock(changed, text, expected):
    assert changed("now: end-of-log", f"now: {text}").now == expected


def test_roles_in_the_configuration(changed):
    config = changed("events: from-data", "events: {targets: {buy: 2}, consuming: [buy, view]}")
    assert config.events == Roles(targets={"buy": 2.0}, consuming=["buy", "view"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("service:", "servic:", r'key servic: expected a known key, got \'servic\'.* Did you mean "service"'),
        ("depth: 60", "dept: 60", r'key candidates.sources.recent_popularity.dept: .* Did you mean "depth"'),
        ("events: from-data", "events: {targest: {a: 1}, consuming: []}", r'key events.targest: .* mean "targets"'),
        ("events: from-data", "events: from-dta", r"key events: expected .* or 'from-data', got 'from-dta'"),
        ("events: from-data", "events: {targets: {a: 0}, consuming: []}", r"key events.targets.a: expected greater th"),
        ("now: end-of-log", "now: soon", r"key now: expected .*'end-of-log' or 'wall-clock', got 'soon'"),
        ("test: {quantile: 0.9}", "test: {quantile: 1}", r"key split.test.quantile: expected less than 1, got 1"),
        ("test: {quantile: 0.9}", "test: {}", r"key split.test: expected give either `date` or `quantile`"),
        ("test: {quantile: 0.9}", "test: {date: 2024-01-01, quantile: 0.9}", r"key split.test: expected give either"),
        ("train: [{quantile: 0.5}, {quantile: 0.6}, {quantile: 0.7}]", "train: []", r"key split.train"),
        ("train: [{quantile: 0.5}", "train: [{quantile: x}", r"key split.train.0.quantile: .*got 'x'"),
        ("memory_limit: 4GB", "memory_limit: lots", r"key engine.memory_limit"),
        ("split:", "splat:", r'key splat: .* Did you mean "split"'),
    ],
)
def test_faults(changed, old, new, message):
    with pytest.raises(ConfigError, match=message):
        changed(old, new)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "expected valid YAML"), ("- 1", "expected keys and values, got list"), ("", "expected keys and values")],
)
def test_files_that_are_no_configuration(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere.yaml: expected a YAML file, got no file"):
        load_config(tmp_path / "nowhere.yaml")


def test_a_missing_key(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("split: {validation: {quantile: 0.8}, test: {quantile: 0.9}, train: [{quantile: 0.5}]}")
    with pytest.raises(ConfigError, match=r"key candidates: expected a value, got nothing"):
        load_config(path)
