from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from feature_repo.config import load_config
from feature_repo.errors import ContractError
from feature_repo.workspace import Workspace
from ranking import looks, model_store
from ranking.compare import METRICS, compare_on_validation, paired
from ranking.compare_cuts import compare_on_cuts
from ranking.train import train

Run = Callable[..., tuple[int, str]]


def with_ranker(workspace: Workspace, folder: Path, **changes: object) -> Workspace:
    raw = yaml.safe_load(workspace.config_path.read_text())
    path = folder / "other.yaml"
    path.write_text(yaml.safe_dump(raw | {"ranker": raw["ranker"] | changes}, sort_keys=False))
    return Workspace(workspace.data_dir, load_config(path), path)


@pytest.fixture(scope="module")
def two(trained: Workspace, copy_of: Callable, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str, str]:
    """A workspace with two models: as configured, and one with hardly any trees."""
    copy = copy_of(trained)
    good = model_store.current(copy)
    other = with_ranker(copy, tmp_path_factory.mktemp("config"), rounds=1)
    return copy, good, train(other).name


def test_users_are_paired_by_id_and_a_missing_row_is_a_zero() -> None:
    tables = [
        pa.table({"user_id": users} | dict.fromkeys(METRICS, pa.array(values)))
        for users, values in (([1, 2, 5], [0.1, 0.2, 0.5]), ([5, 3], [0.4, 0.3]))
    ]
    one, two = paired(tables, 6)
    assert one["ndcg@10"].tolist() == [0.1, 0.2, 0.5, 0, 0, 0]
    assert two["ndcg@10"].tolist() == [0, 0, 0.4, 0.3, 0, 0]


def test_validation_says_what_the_manifests_say(two: tuple[Workspace, str, str]) -> None:
    workspace, good, bad = two
    found = compare_on_validation(workspace, good, bad)
    for name, means in ((good, found.first), (bad, found.second)):
        metrics = model_store.read_manifest(workspace, name).metrics
        assert means["ndcg@10"] == pytest.approx(metrics["validation ndcg@10"])
        assert found.users == metrics["validation users"]
    main = found.differences[0]
    assert (main.metric, main.mean) == ("ndcg@10", pytest.approx(found.first["ndcg@10"] - found.second["ndcg@10"]))
    assert main.low <= main.mean <= main.high
    same = compare_on_validation(workspace, good, good).differences
    assert {(one.mean, one.low, one.high, one.verdict) for one in same} == {(0.0, 0.0, 0.0, "not different")}


def test_other_windows_are_not_compared(two: tuple[Workspace, str, str]) -> None:
    workspace, good, bad = two
    other = workspace.models_path / f"{bad}-elsewhere"
    other.mkdir()
    table = model_store.read_validation(workspace, bad)
    metadata = table.schema.metadata | {b"window": b"data 2020-01-01 2020-02-01"}
    import pyarrow.parquet as pq

    pq.write_table(table.replace_schema_metadata(metadata), other / "validation.parquet")
    (other / "manifest.json").write_bytes((workspace.models_path / bad / "manifest.json").read_bytes())
    with pytest.raises(ContractError, match="2020-01-01"):
        compare_on_validation(workspace, good, other.name)


def test_several_cuts_are_pooled_and_the_test_window_stays_unseen(
    two: tuple[Workspace, str, str], rankhouse: Run, tmp_path: Path
) -> None:
    workspace, good, bad = two
    before = looks.read(workspace.data_dir)
    status, printed = rankhouse(
        workspace, "compare", good, bad, "--cuts", "--seeds", "1", "--json", str(tmp_path / "cuts.json")
    )
    assert status == 0, printed
    assert looks.read(workspace.data_dir) == before
    report = json.loads((tmp_path / "cuts.json").read_text())
    windows = [*(window.start for window in workspace.periods.train[1:]), workspace.periods.validation.start]
    assert [cut["start"] for cut in report["cuts"]] == [start.isoformat() for start in windows]
    assert report["users"] <= sum(cut["users"] for cut in report["cuts"])
    last = model_store.read_manifest(workspace, bad).metrics["validation ndcg@10"]
    judged = model_store.read_manifest(workspace, bad).metrics["validation users"]
    assert report["cuts"][-1]["second"] * report["cuts"][-1]["users"] == pytest.approx(last * judged)
    same = compare_on_cuts(workspace, bad, bad, seeds=1)
    assert same.differences[0].mean == 0


def test_a_model_of_another_first_stage_is_refused(two: tuple[Workspace, str, str]) -> None:
    workspace, good, bad = two
    sources = workspace.config.candidates.model_copy(update={"seed": 99})
    other = Workspace(workspace.data_dir, workspace.config.model_copy(update={"candidates": sources}))
    with pytest.raises(ContractError, match="candidates"):
        compare_on_cuts(other, good, bad)


def test_the_command_compares_and_the_test_window_counts(
    two: tuple[Workspace, str, str], rankhouse: Run, tmp_path: Path
) -> None:
    workspace, good, bad = two
    before = len(looks.read(workspace.data_dir))
    status, printed = rankhouse(workspace, "compare", good, bad)
    assert status == 0, printed
    assert "validation [" in printed
    assert len(looks.read(workspace.data_dir)) == before
    status, printed = rankhouse(workspace, "compare", good, bad, "--test", "--json", str(tmp_path / "c.json"))
    assert status == 0, printed
    assert f"these two included: {before + 2}." in printed
    report = json.loads((tmp_path / "c.json").read_text())
    assert [look.model for look in looks.read(workspace.data_dir)][-2:] == [good, bad]
    assert np.isclose(report["differences"][0]["mean"], report["first"]["ndcg@10"] - report["second"]["ndcg@10"])
