"""One LightGBM booster over shared data, its number of trees picked on a smoothed validation curve.

One window of a few hundred users is a noisy judge: the single best round is often luck. The curve is therefore read as
the mean over the last `smoothing` rounds, and the end of its best stretch is the number of trees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_repo.config import Objective, RankerConfig
from feature_repo.errors import ConfigError, did_you_mean
from ranking.matrices import ROWS, let_go
from ranking.metrics import K

if TYPE_CHECKING:
    import lightgbm

    from ranking.encoding import Encoding
    from ranking.ranker import Examples, Judge

OnRound = Callable[[int], None]
RANKING = ("lambdarank", "rank_xendcg")
MONOTONE = "monotone_constraints"


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
        """Bin the rows: what is fitted reads the bins alone."""
        import lightgbm

        self.train = lightgbm.Dataset(
            self.examples.matrix,
            self.examples.labels,
            group=self.examples.groups.sizes,
            feature_name=self.encoding.names,
            categorical_feature=self.encoding.categories,
            params=parameters(self.config, self.config.objective, self.config.seed, self.gains, self.encoding.names),
            free_raw_data=False,
        ).construct()
        let_go(self.examples.matrix)
        if self.judge is not None:
            hits = self.judge.hit.astype(np.int32)
            self.valid = self.train.create_valid(_in_parts(self.judge.matrix), hits, group=self.judge.groups.sizes)


def _in_parts(matrix: np.ndarray) -> lightgbm.Sequence:
    """Return a matrix for LightGBM to read some rows at a time, so that all of a stored one is never in memory."""
    import lightgbm

    class Parts(lightgbm.Sequence):
        batch_size = ROWS

        def __len__(self) -> int:
            return len(matrix)

        def __getitem__(self, rows: int | slice | list[int]) -> np.ndarray:
            let_go(matrix)
            return matrix[rows]

    return Parts()


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
        parameters(data.config, objective, seed, data.gains, data.encoding.names),
        data.train,
        rounds,
        callbacks=callbacks,
        **validation,
    )
    return booster, stop.best if data.valid is not None else booster.num_trees()


def parameters(
    config: RankerConfig, objective: Objective, seed: int, gains: list[float], names: Sequence[str]
) -> dict[str, Any]:
    """Return LightGBM's parameters for columns of these names; what makes a fit repeatable can't be configured away.

    Raises ConfigError for a monotone constraint on a column that is not there.
    """
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
    if config.params.get(MONOTONE):
        fixed[MONOTONE] = _in_order(config.params[MONOTONE], names)
    return {**config.params, **fixed}


def without_constraints_on_others(config: RankerConfig, names: Sequence[str]) -> RankerConfig:
    """Return the configuration for a model of these columns alone: constraints on others are dropped."""
    if MONOTONE not in config.params:
        return config
    kept = {name: sign for name, sign in config.params[MONOTONE].items() if name in names}
    others = {name: value for name, value in config.params.items() if name != MONOTONE}
    return config.model_copy(update={"params": {**others, **({MONOTONE: kept} if kept else {})}})


def _in_order(constraints: Mapping[str, int], names: Sequence[str]) -> list[int]:
    """Turn signs by column into LightGBM's list: 1 where the score may only rise with the column, -1 fall, 0 free."""
    for name in constraints:
        if name not in names:
            raise ConfigError(
                f"rankhouse.yaml, key ranker.params.{MONOTONE}",
                expected="columns of the feature service",
                got=repr(name),
                fix=f"Correct the name.{did_you_mean(name, names)}",
            )
    return [int(constraints.get(name, 0)) for name in names]


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
