"""The ranker's parameters chosen by search: every trial is judged on the validation window, never on the test window.

What training reads is read once. The first trial is what is configured, so the search can only be said to gain where it
beats that; one window is a noisy judge, and the gain is therefore given with its interval over users.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from candidate_gen.pipeline import Progress, silent
from feature_repo.config import RankerConfig
from feature_repo.errors import MissingError
from ranking.comparison import Difference, difference
from ranking.metrics import K
from ranking.ranker import fit_ranker
from ranking.train import Materials, read_materials

if TYPE_CHECKING:
    import optuna

    from feature_repo.workspace import Workspace

METRIC: Final = f"ndcg@{K}"
CONFIGURED: Final = "as configured"


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


@dataclass(frozen=True)
class Tuned:
    """All trials in order, the first as configured; `gain`: the best one's difference to it, None where it is best."""

    trials: list[Trial]
    best: int
    gain: Difference | None

    @property
    def params(self) -> dict[str, Any]:
        return self.trials[self.best].params


def tune(workspace: Workspace, *, trials: int = 30, minutes: float | None = None, progress: Progress = silent) -> Tuned:
    """Search `SPACE` by a seeded TPE sampler; `minutes` ends the search after the trial that is running then.

    Raises MissingError where Optuna is not installed, and what `read_materials` raises. Saves no model.
    """
    search = _search(workspace.config.ranker.seed)
    materials = read_materials(workspace, progress=progress)
    ranker = workspace.config.ranker
    end = None if minutes is None else time.monotonic() + 60 * minutes
    found: list[Trial] = []
    values: list[np.ndarray] = []
    for number in range(trials):
        if number and end is not None and time.monotonic() >= end:
            break
        progress("trials", number, trials)
        asked = search.ask() if number else None
        chosen = {} if asked is None else {name: space.suggest(asked, name) for name, space in SPACE.items()}
        trial, per_list = _judged(materials, ranker, {**ranker.params, **chosen})
        if asked is not None:
            search.tell(asked, trial.ndcg)
        found.append(trial)
        values.append(per_list)
    progress("trials", trials, trials)
    best = int(np.argmax([trial.ndcg for trial in found]))
    arrays = {METRIC: values[best]}, {METRIC: values[0]}
    gain = difference(*arrays, METRIC, against=CONFIGURED, seed=ranker.seed) if best else None
    return Tuned(found, best, gain)


def fragment(tuned: Tuned) -> str:
    """Return the best parameters as the part of rankhouse.yaml that they replace."""
    import yaml

    trial = tuned.trials[tuned.best]
    head = f"# `rankhouse tune`: validation {METRIC} {trial.ndcg:.4f}, {CONFIGURED} {tuned.trials[0].ndcg:.4f}\n"
    return head + yaml.safe_dump({"ranker": {"params": trial.params}}, sort_keys=False)


def write_fragment(tuned: Tuned, path: Path) -> None:
    """Write the fragment, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(fragment(tuned), encoding="utf-8")
    os.replace(temporary, path)


def _judged(materials: Materials, ranker: RankerConfig, params: dict[str, Any]) -> tuple[Trial, np.ndarray]:
    """Fit once; return the trial and NDCG@10 per judged user, zeros at the end for those without candidates."""
    judge = materials.judge
    config = ranker.model_copy(update={"params": params})
    fitted = fit_ranker(config, materials.gains, materials.encoding, materials.train, judge=judge)
    values = np.zeros(max(judge.users, len(judge.groups.sizes)))
    scores = fitted.booster.predict(judge.matrix, num_iteration=fitted.rounds)
    values[: len(judge.groups.sizes)] = judge.per_group(scores)
    return Trial(params, float(values.mean()), int(fitted.rounds)), values


def _search(seed: int) -> optuna.Study:
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
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
