from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from candidate_gen.entity_table import cuts, read
from feature_repo.errors import DataError
from feature_repo.workspace import Workspace
from ranking.cli import app

CONFIG = """
split: {train: [{quantile: 0.4}, {quantile: 0.5}], validation: {quantile: 0.6}, test: {quantile: 0.8}}
candidates:
  sources:
    popular: {class: candidate_gen.popularity.Popularity, depth: 20}
    knn: {class: candidate_gen.item_knn.CosineItemKNN, depth: 20}
"""


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("candidates")
    (folder / "rankhouse.yaml").write_text(CONFIG)
    options = ["--data-dir", str(folder / "data"), "--config", str(folder / "rankhouse.yaml")]
    world = ["--users", "40", "--items", "60", "--days", "20"]
    assert CliRunner().invoke(app, ["load", "synthetic", *world, *options]).exit_code == 0
    return options


@pytest.fixture
def run(options, monkeypatch):
    """Run `rankhouse candidates`, keeping the environment that opening a workspace changes to this test."""
    for name in ("RANKHOUSE_DATA_DIR", "RANKHOUSE_CONFIG"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return lambda *words: CliRunner().invoke(app, ["candidates", *words, *options])


@pytest.fixture
def workspace(options, monkeypatch) -> Workspace:
    for name in ("RANKHOUSE_DATA_DIR", "RANKHOUSE_CONFIG"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return Workspace.open(options[1], options[3])


def test_every_cut_of_the_split_is_written_without_being_named(run, workspace):
    result = run()
    assert result.exit_code == 0, result.output
    assert cuts(workspace) == sorted(workspace.periods.cuts)


def test_now_serves_everyone(run, workspace):
    assert run("--as-of", "now").exit_code == 0
    assert len(set(read(workspace, workspace.now, ["user_id"])["user_id"].to_pylist())) == 40


def test_a_cut_is_a_time_or_a_word(run):
    result = run("--as-of", "yesterday")
    assert isinstance(result.exception, DataError)
    assert "now, train, validation, test" in str(result.exception)


def test_the_report_prints_tables_and_writes_json(run, tmp_path):
    result = run("report", "--cut", "validation", "--json", str(tmp_path / "report.json"))
    assert result.exit_code == 0, result.output
    assert "as configured" in result.output
    assert set(json.loads((tmp_path / "report.json").read_text())["sources"]) == {"popular", "knn"}


def test_the_report_compares_refits_when_asked(run, tmp_path):
    result = run("report", "--cut", "test", "--stability", "--json", str(tmp_path / "report.json"))
    assert result.exit_code == 0, result.output
    assert "survives another seed" in " ".join(result.output.split())
    refits = json.loads((tmp_path / "report.json").read_text())["stability"]
    assert set(refits["sources"]) == {"popular", "knn"}
    assert refits["sources"]["knn"]["seed"] == {"10": 1.0, "100": 1.0}
