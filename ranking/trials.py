"""The trials of a search, kept in the data directory so that it can be stopped and go on.

<data dir>/tuning/<configuration, data and space>/   journal.log (Optuna's storage), NUMBER.npy (a value per user)
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from feature_repo.errors import MissingError
from ranking.looks import deciding

if TYPE_CHECKING:
    import optuna

    from feature_repo.workspace import Workspace

FOLDER: Final = "tuning"
CONFIGURED: Final = "configured.json"


@dataclass(frozen=True)
class Range:
    """Where a parameter is searched: between two numbers, whole where both are, by their logarithm if `log`."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: optuna.Trial, name: str) -> float:
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


SPACE: Final[dict[str, Range]] = {
    "learning_rate": Range(0.02, 0.2, log=True),
    "num_leaves": Range(7, 63, log=True),
    "min_child_samples": Range(10, 200, log=True),
    "colsample_bytree": Range(0.3, 1.0),
    "subsample": Range(0.5, 1.0),
    "reg_lambda": Range(0.1, 50.0, log=True),
    "lambdarank_truncation_level": Range(10, 50),
}


@dataclass(frozen=True)
class Trial:
    """One set of parameters: validation NDCG@10 and the trees it was reached with."""

    params: dict[str, Any]
    ndcg: float
    rounds: int


@dataclass
class History:
    """What was tried so far; `trials[0]` is what is configured, which is no trial of the study's."""

    folder: Path
    study: optuna.Study
    seed: int
    trials: list[Trial]

    @classmethod
    def open(cls, workspace: Workspace, *, fresh: bool) -> History:
        """Open the history of a configuration on its data; `fresh` forgets it. Raises MissingError without Optuna."""
        optuna = _optuna()
        space = {name: repr(space) for name, space in SPACE.items()}
        content = json.dumps([deciding(workspace.config), workspace.lake.fingerprint(), space], sort_keys=True)
        folder = workspace.data_dir / FOLDER / sha256(content.encode()).hexdigest()[:12]
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name=FOLDER,
            direction="maximize",
            load_if_exists=True,
        )
        history = cls(folder, study, workspace.config.ranker.seed, [])
        history.trials += history._finished(workspace.config.ranker.params)
        return history

    def add(self, judge: Callable[[dict[str, Any]], tuple[Trial, np.ndarray]]) -> None:
        """Try what comes next: first what is configured, then what the sampler asks for."""
        import optuna

        number = len(self.trials)
        if not number:
            trial, values = judge({})
            self._keep(0, values)
            content = json.dumps({"ndcg": trial.ndcg, "rounds": trial.rounds})
            (self.folder / CONFIGURED).write_text(content + "\n", encoding="utf-8")
            self.trials.append(trial)
            return
        # A sampler of its own for every trial: what it asks for depends on the trials that there are, not on the run.
        self.study.sampler = optuna.samplers.TPESampler(seed=self.seed + number)
        asked = self.study.ask()
        trial, values = judge({name: space.suggest(asked, name) for name, space in SPACE.items()})
        self._keep(number, values)
        asked.set_user_attr("params", trial.params)
        asked.set_user_attr("rounds", trial.rounds)
        self.study.tell(asked, trial.ndcg)
        self.trials.append(trial)

    def values(self, number: int) -> np.ndarray:
        """Return what a trial gave each judged user, float64."""
        return np.load(self.folder / f"{number}.npy")

    def _keep(self, number: int, values: np.ndarray) -> None:
        temporary = self.folder / f".{number}.npy"
        np.save(temporary, values)
        os.replace(temporary, self.folder / f"{number}.npy")

    def _finished(self, configured: dict[str, Any]) -> list[Trial]:
        import optuna

        path = self.folder / CONFIGURED
        if not path.exists():
            return []
        complete = self.study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        return [
            Trial(configured, **json.loads(path.read_text(encoding="utf-8"))),
            *(Trial(trial.user_attrs["params"], trial.value, trial.user_attrs["rounds"]) for trial in complete),
        ]


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise MissingError(
            "rankhouse tune",
            expected="the package optuna",
            got="none installed",
            fix="Install the extra: `pip install 'rankhouse[tune]'`.",
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
