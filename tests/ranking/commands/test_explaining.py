"""`rankhouse importance`, `explain`, `drift` and `models rollback` on the tiny world."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from feature_repo.workspace import Workspace
from ranking import model_store

Run = Callable[..., tuple[int, str]]


def test_importance_names_families_and_columns(trained: Workspace, rankhouse: Run, tmp_path: Path) -> None:
    file = tmp_path / "importance.json"
    status, printed = rankhouse(trained, "importance", "--rows", "200", "--top", "3", "--json", str(file))
    assert status == 0, printed
    assert "source als" in printed
    report = json.loads(file.read_text())
    assert report["rows"] == 200
    assert sum(weight["shap"] for weight in report["families"]) == pytest.approx(1)
    assert len(report["columns"]) > len(report["families"])


def test_explain_adds_up_to_the_score(served: Workspace, rankhouse: Run, tmp_path: Path) -> None:
    file = tmp_path / "pair.json"
    status, printed = rankhouse(served, "explain", "1", "--json", str(file))
    assert status == 0, printed
    report = json.loads(file.read_text())
    adds = sum(report["families"].values())
    assert report["score"] == pytest.approx(report["base"] + adds)
    assert adds == pytest.approx(sum(column["adds"] for column in report["columns"]))
    item = str(report["item"])
    assert f"Item {item} for user 1" in rankhouse(served, "explain", "1", "--item", item)[1]


def test_explain_wants_ids_of_the_data(served: Workspace, rankhouse: Run) -> None:
    status, printed = rankhouse(served, "explain", "1", "--item", "hat")
    assert status == 2
    assert "a whole number" in printed


def test_drift_fails_only_above_the_threshold(
    served: Workspace, rankhouse: Run, tmp_path: Path, copy_of: Callable[[Workspace], Workspace]
) -> None:
    raw = yaml.safe_load(served.config_path.read_text())
    for psi, status in ((0.001, 1), (1000.0, 0)):
        path = tmp_path / f"{psi}.yaml"
        path.write_text(yaml.safe_dump(raw | {"drift": {"psi": psi, "ks": 1.0}}, sort_keys=False))
        workspace = Workspace(served.data_dir, served.config, path)
        found, printed = rankhouse(workspace, "drift", "--rows", "500", "--json", str(tmp_path / "drift.json"))
        assert found == status, printed
        assert "columns drifted: PSI above" in printed
    report = json.loads((tmp_path / "drift.json").read_text())
    assert report["cut"] == served.now.isoformat()
    assert report["drifted"] == 0


def test_rollback_goes_back_to_the_model_before(trained: Workspace, rankhouse: Run, copy_of: Callable) -> None:
    copy = copy_of(trained)
    first = model_store.current(copy)
    assert rankhouse(copy, "models", "rollback")[0] == 2
    second = copy.models_path / f"{first}-second"
    (copy.models_path / first).rename(second)
    (copy.models_path / first).mkdir()
    for path in second.iterdir():
        (copy.models_path / first / path.name).write_bytes(path.read_bytes())
    model_store.promote(copy, second.name)
    assert rankhouse(copy, "models", "rollback") == (0, f"{first} is the current model, in place of {second.name}.")
