from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.config import RankerConfig, load_config
from feature_repo.errors import ContractError, MissingError
from feature_repo.workspace import Workspace
from ranking import model_store
from ranking.drift import reference
from ranking.encoding import Column, Encoding
from ranking.model_store import ModelManifest
from ranking.order import Groups
from ranking.ranker import Examples, Fitted, fit_ranker

COLUMNS = (("age", "Int64"), ("gender", "String"))
ENCODING = Encoding((Column("age", "number"), Column("gender", "category", ("f", "m"))))
FEATURES = pa.table({"age": [10, 30, None], "gender": ["m", "f", "x"]})
MANIFEST = ModelManifest(
    name="lambdarank",
    service="ranker_v1",
    service_columns=COLUMNS,
    encoding=ENCODING,
    objective="lambdarank",
    params={"num_leaves": 31},
    gains=[0.0, 1.0],
    rounds=3,
    seeds={"ranker": 7},
    cuts=["2024-01-01T00:00:00+00:00"],
    labels_end="2024-02-01T00:00:00+00:00",
    training={"rows": 3},
    metrics={"validation ndcg@10": 0.2},
    data_fingerprint="abc",
    created="2024-03-01T00:00:00+00:00",
    versions={"lightgbm": "4"},
)


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 2, (200, 2)).astype(np.float32)
    examples = Examples(matrix, (matrix[:, 0] > 0).astype(np.int32), Groups(np.full(20, 10)))
    return fit_ranker(RankerConfig(threads=1), [0.0, 1.0], ENCODING, examples, rounds=3)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, load_config())


def files_of(workspace: Workspace) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(workspace.data_dir.rglob("*")) if path.is_file()}


def test_a_saved_model_is_current_and_scores_as_before(workspace: Workspace, fitted: Fitted) -> None:
    saved = model_store.save(workspace, MANIFEST, fitted.booster, fitted.rounds)
    assert model_store.current(workspace) == saved.name
    loaded = model_store.load(workspace, COLUMNS)
    assert loaded.manifest == saved == replace(MANIFEST, name=saved.name)
    np.testing.assert_array_equal(loaded.score(FEATURES), fitted.booster.predict(ENCODING.encode(FEATURES)))
    assert sorted(path.name for path in (workspace.models_path / saved.name).iterdir()) == [
        "manifest.json",
        "model.txt",
    ]


def test_saving_again_gives_the_same_name_and_bytes(workspace: Workspace, fitted: Fitted) -> None:
    model_store.save(workspace, MANIFEST, fitted.booster, fitted.rounds)
    before = files_of(workspace)
    model_store.save(workspace, MANIFEST, fitted.booster, fitted.rounds)
    assert files_of(workspace) == before


def test_models_lie_side_by_side_and_promotion_switches(workspace: Workspace, fitted: Fitted) -> None:
    first = model_store.save(workspace, MANIFEST, fitted.booster, fitted.rounds)
    second = model_store.save(workspace, replace(MANIFEST, seeds={"ranker": 8}), fitted.booster, fitted.rounds)
    assert model_store.names(workspace) == sorted([first.name, second.name])
    assert model_store.current(workspace) == second.name
    model_store.promote(workspace, first.name)
    assert model_store.load(workspace, COLUMNS).manifest.name == first.name


def test_rollback_walks_back_and_says_where_it_ends(workspace: Workspace, fitted: Fitted) -> None:
    first, second, third = (
        model_store.save(workspace, replace(MANIFEST, seeds={"ranker": seed}), fitted.booster, fitted.rounds).name
        for seed in range(3)
    )
    assert model_store.history(workspace) == [first, second]
    assert model_store.rollback(workspace) == model_store.current(workspace) == second
    assert model_store.rollback(workspace) == model_store.current(workspace) == first
    with pytest.raises(MissingError, match="models promote"):
        model_store.rollback(workspace)
    model_store.promote(workspace, third)
    assert model_store.rollback(workspace) == first


def test_a_promotion_that_broke_off_is_not_a_step_back(
    workspace: Workspace, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (
        model_store.save(workspace, replace(MANIFEST, seeds={"ranker": seed}), fitted.booster, fitted.rounds).name
        for seed in range(2)
    )
    move = model_store.os.replace

    def crash_at_the_pointer(old: Path, new: Path) -> None:
        if new.name == model_store.CURRENT:
            raise OSError("power cut")
        move(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(model_store.os, "replace", crash_at_the_pointer)
        with pytest.raises(OSError, match="power cut"):
            model_store.promote(workspace, first)
    assert model_store.current(workspace) == second
    assert model_store.rollback(workspace) == first


def test_the_reference_lies_beside_the_model(workspace: Workspace, fitted: Fitted) -> None:
    described = reference(np.ones((3, 2), np.float32), ENCODING.names)
    saved = model_store.save(workspace, MANIFEST, fitted.booster, fitted.rounds, described)
    assert model_store.read_reference(workspace, saved.name) == described
    other = model_store.save(workspace, replace(MANIFEST, rounds=2), fitted.booster, 2)
    with pytest.raises(MissingError, match="rankhouse train"):
        model_store.read_reference(workspace, other.name)


def test_a_crash_while_saving_leaves_the_old_state(
    workspace: Workspace, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_store.save(workspace, MANIFEST, fitted.booster, fitted.rounds)
    before = files_of(workspace)

    def crash(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(model_store.os, "replace", crash)
    with pytest.raises(OSError, match="disk full"):
        model_store.save(workspace, replace(MANIFEST, rounds=2), fitted.booster, 2)
    assert files_of(workspace) == before


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ((("age", "Int64"),), "gender is gone"),
        ((*COLUMNS, ("city", "String")), "city is new"),
        ((("age", "Float64"), ("gender", "String")), "age was Int64 and is Float64"),
    ],
)
def test_a_changed_service_is_refused_by_name(
    workspace: Workspace, fitted: Fitted, now: model_store.ServiceColumns, said: str
) -> None:
    model_store.save(workspace, MANIFEST, fitted.booster, fitted.rounds)
    before = files_of(workspace)
    with pytest.raises(ContractError, match=said) as caught:
        model_store.load(workspace, now)
    assert "rankhouse train" in caught.value.fix
    assert files_of(workspace) == before


def test_a_missing_model_says_what_comes_next(workspace: Workspace, fitted: Fitted) -> None:
    with pytest.raises(MissingError, match="rankhouse train"):
        model_store.load(workspace, COLUMNS)
    saved = model_store.save(workspace, MANIFEST, fitted.booster, fitted.rounds)
    with pytest.raises(MissingError, match="Did you mean"):
        model_store.promote(workspace, saved.name[:-1])


def test_the_manifest_is_plain_json(workspace: Workspace, fitted: Fitted) -> None:
    saved = model_store.save(workspace, MANIFEST, fitted.booster, fitted.rounds)
    raw = json.loads((workspace.models_path / saved.name / "manifest.json").read_text())
    assert raw["encoding"]["columns"][1] == {"name": "gender", "kind": "category", "vocabulary": ["f", "m"]}
    assert raw["service"] == "ranker_v1"
