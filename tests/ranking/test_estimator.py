from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from feature_repo.config import Config, EstimatorConfig, RankerConfig
from feature_repo.errors import ConfigError, ContractError, MissingError
from feature_repo.workspace import Workspace
from ranking import model_store
from ranking.encoding import Column, Encoding
from ranking.estimator import Plugged, estimator_class
from ranking.order import Groups
from ranking.ranker import Examples, Judge, fit_ranker, refit_ranker

USERS, PER_USER = 60, 20
ENCODING = Encoding((Column("taste", "number"), Column("noise", "number"), Column("kind", "category", ("a", "b"))))
GROUPS = Groups(np.full(USERS, PER_USER))
OURS = {
    "linear": "ranking.estimators.linear.Linear",
    "logistic": "ranking.estimators.linear.Logistic",
    "catboost": "ranking.estimators.catboost.CatBoost",
    "xgboost": "ranking.estimators.xgboost.XGBoost",
}
PARAMS = {"catboost": {"rounds": 60, "threads": 1}, "xgboost": {"rounds": 40, "threads": 1}}


def examples_of(seed: int) -> Examples:
    """Rows whose relevance follows the first column; some values are unknown."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(USERS * PER_USER, 3)).astype(np.float32)
    matrix[:, 2] = rng.integers(0, 2, len(matrix))
    labels = (matrix[:, 0] + rng.normal(scale=0.3, size=len(matrix)) > 1.2).astype(np.int32)
    matrix[rng.random(len(matrix)) < 0.05, 1] = np.nan
    return Examples(matrix, labels, GROUPS)


def judge_of(examples: Examples) -> Judge:
    hit = examples.labels > 0
    counts = np.maximum(np.bincount(GROUPS.number(), weights=hit).astype(int), 1)
    return Judge(examples.matrix, GROUPS, hit, counts, users=USERS)


def config_of(name: str, **changes: object) -> RankerConfig:
    if name in ("catboost", "xgboost") and importlib.util.find_spec(name) is None:
        pytest.skip(f"the extra `{name}` is not installed")
    estimator = {"class": OURS[name], "params": PARAMS.get(name, {})}
    return RankerConfig.model_validate({"estimator": estimator, **changes})


@pytest.mark.parametrize("name", OURS)
def test_every_estimator_learns_explains_and_reads_back(name: str, tmp_path: Path) -> None:
    config, judge = config_of(name), judge_of(examples_of(1))
    fitted = fit_ranker(config, [0.0, 1.0], ENCODING, examples_of(0), judge=judge)
    assert fitted.ndcg > 0.8
    assert (fitted.rounds, fitted.members) == (0, ())
    scores = fitted.booster.predict(judge.matrix)
    assert scores.dtype == np.float64
    moves = fitted.booster.predict(judge.matrix, pred_contrib=True)
    assert moves.shape == (len(scores), 4)
    np.testing.assert_allclose(moves.sum(axis=1), scores, atol=1e-4)
    weights = fitted.booster.feature_importance("gain")
    assert weights.argmax() == 0
    assert len(fitted.booster.feature_importance("split")) == len(weights) == 3

    path = tmp_path / "model.native"
    fitted.booster.estimator.save(path)
    again = estimator_class(EstimatorConfig.model_validate({"class": OURS[name]})).load(path)
    np.testing.assert_array_equal(again.predict(judge.matrix), scores)


@pytest.mark.parametrize("name", OURS)
def test_same_seed_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    written = []
    for number in range(2):
        path = tmp_path / str(number)
        fit_ranker(config_of(name, seed=4), [0.0, 1.0], ENCODING, examples_of(0)).booster.estimator.save(path)
        written.append(path.read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("name", ["catboost", "xgboost"])
def test_without_its_package_the_message_names_the_extra(name: str, hide: Callable[[str], None]) -> None:
    hide(name)
    config = RankerConfig.model_validate({"estimator": {"class": OURS[name]}})
    with pytest.raises(MissingError, match=f"rankhouse\\[{name}\\]"):
        fit_ranker(config, [0.0, 1.0], ENCODING, examples_of(0))


def test_a_baseline_is_an_objective_and_a_refit_fits_it_again() -> None:
    config = RankerConfig(objective="logistic")
    chosen = fit_ranker(config, [0.0, 1.0], ENCODING, examples_of(0), judge=judge_of(examples_of(1)))
    assert type(chosen.booster.estimator).__name__ == "Logistic"
    weights = chosen.booster.estimator.weights_
    assert weights[0] > 1
    assert weights[2] == 0  # codes are no quantity
    again = refit_ranker(config, [0.0, 1.0], ENCODING, examples_of(2), chosen)
    assert again.booster.estimator.weights_[0] != weights[0]


def test_trees_do_not_blend_with_others() -> None:
    for other in ({"objective": "logistic"}, {"estimator": {"class": OURS["linear"]}}):
        with pytest.raises(ValueError, match="blend: \\[\\]"):
            RankerConfig.model_validate({**other, "blend": ["binary"]})
        assert RankerConfig.model_validate(other).blend == []


class Nameless:
    """It can rank, and can't be kept."""

    def fit(self, X: np.ndarray, y: np.ndarray, group: np.ndarray) -> None: ...

    def predict(self, X: np.ndarray) -> np.ndarray:
        return X[:, 0]


class Kept(Nameless):
    def save(self, path: Path) -> None:
        path.write_text("{}", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Kept:
        return cls()


def test_faults_are_told_with_what_was_expected() -> None:
    for path, said in (
        ("nowhere.at.All", "class path like"),
        ("ranking.estimators.linear.Logistik", 'Did you mean "Logistic"?'),
        ("lightgbm.LGBMRanker", "without save, load"),
    ):
        with pytest.raises(ConfigError, match=said.replace("?", "\\?")):
            estimator_class(EstimatorConfig.model_validate({"class": path}))
    wrong = RankerConfig.model_validate({"estimator": {"class": OURS["linear"], "params": {"alfa": 1}}})
    with pytest.raises(ConfigError, match="alfa"):
        fit_ranker(wrong, [0.0, 1.0], ENCODING, examples_of(0))
    with pytest.raises(ContractError, match="contributions"):
        Plugged(Kept(), 3).predict(examples_of(0).matrix, pred_contrib=True)


def _with(workspace: Workspace, path: Path, ranker: dict[str, object]) -> Workspace:
    """The same data with another ranker, as a configuration file."""
    raw = workspace.config.model_dump(mode="json", by_alias=True)
    raw["ranker"] |= ranker
    path.write_text(json.dumps(Config.model_validate(raw).model_dump(mode="json", by_alias=True)), encoding="utf-8")
    return Workspace.open(workspace.data_dir, path)


@pytest.mark.parametrize("name", ["logistic", "xgboost"])
def test_a_plugged_model_is_trained_listed_and_served(
    name: str,
    served: Workspace,
    copy_of: Callable[[Workspace], Workspace],
    rankhouse: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    wanted = config_of(name).estimator.model_dump(by_alias=True)
    monkeypatch.setenv("RANKHOUSE_DATA_DIR", "")
    monkeypatch.setenv("RANKHOUSE_CONFIG", "")
    workspace = _with(copy_of(served), tmp_path / "plugged.yaml", {"estimator": wanted, "blend": []})
    status, printed = rankhouse(workspace, "train")
    assert status == 0, printed
    manifest = model_store.read_manifest(workspace)
    assert manifest.name.startswith(f"{name}-")
    assert manifest.estimator == wanted
    assert {"logistic": "scikit-learn", "xgboost": "xgboost"}[name] in manifest.versions
    files = {path.name for path in (workspace.models_path / manifest.name).iterdir()}
    assert "model.native" in files
    assert "model.txt" not in files
    with workspace.connect() as connection:
        [(user,)] = connection.execute("SELECT min(user_id) FROM events").fetchall()
    for command in (("recommend", str(user), "-k", "3"), ("importance", "--rows", "50"), ("explain", str(user))):
        status, printed = rankhouse(workspace, *command)
        assert status == 0, printed
