"""One LightGBM booster over shared data, its number of trees picked on a smoothed validation curve.

One window of a few hundred users is a noisy judge: the single best round is often luck. The curve is therefore read as
the mean over the last `smoothing` rounds, and the end of its best stretch is the number of trees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_repo.config import Objective, RankerConfig
from ranking.metrics import K

if TYPE_CHECKING:
    import lightgbm

    from ranking.encoding import Encoding
    from ranking.ranker import Examples, Judge

OnRound = Callable[[int], None]
RANKING = ("lambdarank", "rank_xendcg")


@dataclass
class Data:
    """Examples binned once for all boosters of a model, and the judge's candidates binned alike."""

    config: RankerConfig
    gains: list[float]
    encoding: Encoding
    examples: Examples
    judge: Judge | None = None
    train: lightgbm.Dataset = field(init=False)
    valid: lightgbm.Dataset | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        import lightgbm

        self.train = lightgbm.Dataset(
            self.examples.matrix,
            self.examples.labels,
            group=self.examples.groups.sizes,
            feature_name=self.encoding.names,
            categorical_feature=self.encoding.categories,
            params=parameters(self.config, self.config.objective, self.config.seed, self.gains),
            free_raw_data=False,
        )
        if self.judge is not None:
            hits = self.judge.hit.astype(np.int32)
            self.valid = self.train.create_valid(self.judge.matrix, hits, group=self.judge.groups.sizes)


def fit_booster(
    data: Data, objective: Objective, seed: int, rounds: int, on_round: OnRound | None = None
) -> tuple[lightgbm.Booster, int]:
    """Fit one booster; return it with its number of trees (`rounds`, or fewer where a judge stops it)."""
    import lightgbm

    data.train.set_label(targets(objective, data.gains, data.examples.labels))
    callbacks: list[Callable[..., Any]] = [] if on_round is None else [_reporter(on_round)]
    stop = _Stop(data.config.early_stopping, data.config.smoothing)
    validation: dict[str, Any] = {}
    if data.valid is not None:
        judge = data.judge
        validation = {
            "valid_sets": [data.valid],
            "feval": lambda scores, _: (f"ndcg@{K}", judge.ndcg(scores), True),
        }
        callbacks.append(stop)
    booster = lightgbm.train(
        parameters(data.config, objective, seed, data.gains), data.train, rounds, callbacks=callbacks, **validation
    )
    return booster, stop.best if data.valid is not None else booster.num_trees()


def parameters(config: RankerConfig, objective: Objective, seed: int, gains: list[float]) -> dict[str, Any]:
    """Return LightGBM's parameters; what makes a fit repeatable can't be configured away."""
    fixed = {
        "objective": objective,
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,
        "metric": "None",
        "verbosity": -1,
        "num_threads": config.threads or 0,
    }
    if objective in RANKING:
        fixed["label_gain"] = gains
    return {**config.params, **fixed}


def targets(objective: Objective, gains: list[float], labels: np.ndarray) -> np.ndarray:
    """Return what the objective is fitted to: labels for ranking, 0 or 1 for binary, gains for regression."""
    if objective == "binary":
        return (labels > 0).astype(np.int32)
    return np.asarray(gains)[labels] if objective == "regression" else labels


@dataclass(eq=False)
class _Stop:
    """Ends the training when the smoothed curve has not risen for `patience` rounds; `best` is its highest place."""

    patience: int
    smoothing: int
    curve: list[float] = field(default_factory=list)
    best: int = 0
    highest: float = -np.inf

    def __call__(self, environment: Any) -> None:
        from lightgbm.callback import EarlyStopException

        self.curve.append(environment.evaluation_result_list[0][2])
        smoothed = float(np.mean(self.curve[-self.smoothing :]))
        rounds = len(self.curve)
        # Before a full stretch there is nothing to compare; a training shorter than one keeps all its trees.
        if smoothed > self.highest or rounds <= self.smoothing:
            self.best, self.highest = rounds, smoothed
        if rounds - self.best >= self.patience:
            raise EarlyStopException(self.best - 1, environment.evaluation_result_list)


def _reporter(on_round: OnRound) -> Callable[..., None]:
    def report(environment: Any) -> None:
        on_round(environment.iteration + 1)

    return report
