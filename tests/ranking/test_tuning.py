from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from feature_repo.config import RankerConfig
from feature_repo.workspace import Workspace
from ranking import looks, tuning
from ranking import trials as searched
from ranking.trials import SPACE
from ranking.tuning import fragment, tune

Run = Callable[..., tuple[int, str]]
Copy = Callable[[Workspace], Workspace]


def test_the_search_is_seeded_bounded_and_never_below_what_is_configured(trained: Workspace, copy_of: Copy) -> None:
    pytest.importorskip("optuna")
    trained = copy_of(trained)
    before = looks.read(trained.data_dir)
    tuned = tune(trained, trials=4)
    assert looks.read(trained.data_dir) == before
    assert tuned == tune(trained, trials=4, fresh=True)
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


def test_a_search_that_was_stopped_goes_on_to_the_same_end(
    trained: Workspace, copy_of: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    whole, stopped = copy_of(trained), copy_of(trained)
    at_once = tune(whole, trials=4)
    judged = tuning._judged
    calls = []

    def power_cut(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return judged(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "_judged", power_cut)
        with pytest.raises(KeyboardInterrupt):
            tune(stopped, trials=4)
    again = tune(stopped, trials=4)
    assert again.before == 2
    assert (again.trials, again.best, again.gain) == (at_once.trials, at_once.best, at_once.gain)
    assert tune(stopped, trials=4).before == 4


def test_another_configuration_has_a_search_of_its_own(trained: Workspace, copy_of: Copy) -> None:
    pytest.importorskip("optuna")
    copy = copy_of(trained)
    ranker = copy.config.ranker.model_copy(update={"rounds": 3})
    other = Workspace(copy.data_dir, copy.config.model_copy(update={"ranker": ranker}), copy.config_path)
    folders = {searched.History.open(workspace, fresh=False).folder for workspace in (copy, copy, other)}
    assert len(folders) == 2


def test_the_command_writes_a_fragment_and_saves_no_model(
    trained: Workspace, copy_of: Copy, rankhouse: Run, files_of: Callable[[Workspace], dict[str, bytes]], tmp_path: Path
) -> None:
    pytest.importorskip("optuna")
    trained = copy_of(trained)
    before = set(files_of(trained))
    out, report = tmp_path / "best.yaml", tmp_path / "report.json"
    options = ["--trials", "9", "--minutes", "0", "--out", str(out), "--json", str(report)]
    status, printed = rankhouse(trained, "tune", *options)
    assert status == 0, printed
    assert "Trials: 1, 0 of them from before." in printed  # the budget was spent before a second one
    assert yaml.safe_load(out.read_text()) == {"ranker": {"params": trained.config.ranker.params}}
    assert len(json.loads(report.read_text())["trials"]) == 1
    assert {name for name in set(files_of(trained)) - before if not name.startswith("tuning/")} == set()


def test_without_optuna_the_message_names_the_extra(
    trained: Workspace, rankhouse: Run, hide: Callable[[str], None]
) -> None:
    hide("optuna")
    status, printed = rankhouse(trained, "tune")
    assert status == 2
    assert "rankhouse[tune]" in printed
