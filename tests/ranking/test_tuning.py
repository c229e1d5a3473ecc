from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from feature_repo.config import RankerConfig
from feature_repo.workspace import Workspace
from ranking import looks
from ranking.tuning import SPACE, fragment, tune

Run = Callable[..., tuple[int, str]]


def test_the_search_is_seeded_bounded_and_never_below_what_is_configured(trained: Workspace) -> None:
    pytest.importorskip("optuna")
    before = looks.read(trained.data_dir)
    tuned = tune(trained, trials=4)
    assert looks.read(trained.data_dir) == before
    assert tuned == tune(trained, trials=4)
    configured = trained.config.ranker.params
    assert tuned.trials[0].params == configured
    for trial in tuned.trials[1:]:
        assert set(trial.params) == set(configured) | set(SPACE)
        for name, space in SPACE.items():
            assert space.low <= trial.params[name] <= space.high
    best = tuned.trials[tuned.best]
    assert best.ndcg == max(trial.ndcg for trial in tuned.trials) >= tuned.trials[0].ndcg > 0
    if tuned.gain is not None:
        assert tuned.gain.mean == pytest.approx(best.ndcg - tuned.trials[0].ndcg)
    assert RankerConfig.model_validate(yaml.safe_load(fragment(tuned))["ranker"]).params == best.params


def test_the_command_writes_a_fragment_and_saves_no_model(
    trained: Workspace, rankhouse: Run, files_of: Callable[[Workspace], dict[str, bytes]], tmp_path: Path
) -> None:
    pytest.importorskip("optuna")
    before = set(files_of(trained))
    out, report = tmp_path / "best.yaml", tmp_path / "report.json"
    options = ["--trials", "9", "--minutes", "0", "--out", str(out), "--json", str(report)]
    status, printed = rankhouse(trained, "tune", *options)
    assert status == 0, printed
    assert "Trials: 1." in printed  # the budget was spent before a second one
    assert yaml.safe_load(out.read_text()) == {"ranker": {"params": trained.config.ranker.params}}
    assert len(json.loads(report.read_text())["trials"]) == 1
    assert set(files_of(trained)) == before


def test_without_optuna_the_message_names_the_extra(
    trained: Workspace, rankhouse: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: object) -> object:
        if name == "optuna":
            raise ModuleNotFoundError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    status, printed = rankhouse(trained, "tune")
    assert status == 2
    assert "rankhouse[tune]" in printed
