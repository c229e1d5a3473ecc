from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from feature_repo.workspace import Workspace
from ranking import model_store
from ranking.mlflow_log import run_params

Run = Callable[..., tuple[int, str]]


def test_everything_that_decided_the_ranker_is_a_parameter(trained: Workspace) -> None:
    manifest = model_store.read_manifest(trained)
    params = run_params(manifest)
    assert all(isinstance(value, str) for value in params.values())
    assert params["objective"] == manifest.objective
    ranker = trained.config.ranker
    assert {name.removeprefix("ranker.params.") for name in params if ".params." in name} == set(ranker.params)
    assert manifest.configuration["ranker"]["seed"] == ranker.seed


def test_a_run_holds_metrics_and_files(
    trained: Workspace, rankhouse: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tmp_path.as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(tmp_path.as_uri())
    status, printed = rankhouse(trained, "models", "log", "--experiment", "films")
    assert status == 0, printed
    manifest = model_store.read_manifest(trained)
    run = mlflow.get_run(re.search(r"Run ([0-9a-f]{32})\.", printed).group(1))
    assert run.data.metrics["validation ndcg_at_10"] == manifest.metrics["validation ndcg@10"]
    assert run.data.params["service"] == manifest.service
    assert run.info.run_name == manifest.name
    kept = {path.name for path in tmp_path.rglob("artifacts/*")}
    assert {"model.txt", "manifest.json"} <= kept


def test_without_mlflow_the_message_names_the_extra(
    trained: Workspace, rankhouse: Run, hide: Callable[[str], None]
) -> None:
    hide("mlflow")
    status, printed = rankhouse(trained, "models", "log")
    assert status == 2
    assert "rankhouse[mlflow]" in printed
