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
from ranking.comparison import Difference, difference
from ranking.matrices import predict
from ranking.metrics import K
from ranking.ranker import fit_ranker
from ranking.train import Materials, read_materials
from ranking.trials import History, Trial

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

METRIC: Final = f"ndcg@{K}"
CONFIGURED: Final = "as configured"


@dataclass(frozen=True)
class Tuned:
    """All trials in order, the first as configured; `gain`: the best one's difference to it, None where it is best.

    `before`: how many of the trials are from a search that was stopped.
    """

    trials: list[Trial]
    best: int
    gain: Difference | None
    before: int = 0

    @property
    def params(self) -> dict[str, Any]:
        return self.trials[self.best].params


def tune(
    workspace: Workspace,
    *,
    trials: int = 30,
    minutes: float | None = None,
    fresh: bool = False,
    progress: Progress = silent,
) -> Tuned:
    """Search `SPACE` by a seeded TPE sampler; `minutes` ends the search after the trial that is running then.

    Trials of before, with this configuration on these data, are counted and not made again (unless `fresh`): a search
    that was stopped and goes on finds what it would have found at once. Raises MissingError where Optuna is not
    installed, and what `read_materials` raises. Saves no model.
    """
    history = History.open(workspace, fresh=fresh)
    before = len(history.trials)
    materials = read_materials(workspace, progress=progress)
    ranker = workspace.config.ranker
    end = None if minutes is None else time.monotonic() + 60 * minutes
    while len(history.trials) < trials:
        number = len(history.trials)
        if number and end is not None and time.monotonic() >= end:
            break
        progress("trials", number, trials)
        history.add(lambda params: _judged(materials, ranker, {**ranker.params, **params}))
    progress("trials", trials, trials)
    found = history.trials
    best = int(np.argmax([trial.ndcg for trial in found]))
    arrays = ({METRIC: history.values(number)} for number in (best, 0))
    gain = difference(*arrays, METRIC, against=CONFIGURED, seed=ranker.seed) if best else None
    return Tuned(found, best, gain, before)


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
    scores = predict(fitted.booster, judge.matrix, rounds=fitted.rounds)
    values[: len(judge.groups.sizes)] = judge.per_group(scores)
    return Trial(params, float(values.mean()), int(fitted.rounds)), values
