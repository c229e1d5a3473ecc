"""Stage two's model: LightGBM behind one interface, stopped early by the metric that users are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_repo.config import RankerConfig
from ranking.encoding import Encoding
from ranking.metrics import K, ndcg
from ranking.order import EMPTY, Groups, top_rows

if TYPE_CHECKING:
    import lightgbm

OnRound = Callable[[int], None]


@dataclass(frozen=True)
class Examples:
    """Rows to learn from: `matrix` float32 (rows, columns), `labels` int32 (rows,), one group per user and cut."""

    matrix: np.ndarray
    labels: np.ndarray
    groups: Groups


@dataclass(frozen=True)
class Judge:
    """The validation window under the truth protocol.

    `matrix`, `groups`: candidates at the cut, per user; `hit`: bool per row; `relevant`: per group, how many items the
    user's truth holds, proposed or not; `users`: judged users, those without candidates included (they score zero).
    """

    matrix: np.ndarray
    groups: Groups
    hit: np.ndarray
    relevant: np.ndarray
    users: int

    def per_group(self, scores: np.ndarray) -> np.ndarray:
        """Return NDCG@10 of each group's list."""
        rows = top_rows(scores, self.groups, K)
        return ndcg(self.hit[rows] & (rows != EMPTY), self.relevant, K)

    def ndcg(self, scores: np.ndarray) -> float:
        return float(self.per_group(scores).sum() / self.users)


@dataclass(frozen=True)
class Fitted:
    """A trained booster, its number of trees and the validation metric at that number (None without a judge)."""

    booster: lightgbm.Booster
    rounds: int
    ndcg: float | None


def fit_ranker(
    config: RankerConfig,
    gains: list[float],
    encoding: Encoding,
    examples: Examples,
    *,
    judge: Judge | None = None,
    rounds: int | None = None,
    on_round: OnRound | None = None,
) -> Fitted:
    """Fit the configured objective; with a judge, keep the trees up to the best validation NDCG@10.

    `gains` maps a label to its gain; `rounds` fixes the number of trees (default: the configuration's bound).
    """
    import lightgbm

    model = lightgbm.LGBMRanker(
        objective=config.objective, n_estimators=rounds or config.rounds, **_parameters(config, gains)
    )
    callbacks: list[Callable[..., Any]] = [] if on_round is None else [_reporter(on_round)]
    data: dict[str, Any] = {}
    if judge is not None:
        callbacks.append(lightgbm.early_stopping(config.early_stopping, first_metric_only=True, verbose=False))
        data = {
            "eval_X": judge.matrix,
            "eval_y": judge.hit.astype(np.int32),
            "eval_group": [judge.groups.sizes],
            "eval_metric": lambda _, scores: (f"ndcg@{K}", judge.ndcg(scores), True),
        }
    model.fit(
        examples.matrix,
        _targets(config, gains, examples.labels),
        group=examples.groups.sizes,
        feature_name=encoding.names,
        categorical_feature=encoding.categories,
        callbacks=callbacks,
        **data,
    )
    best = model.best_iteration_ or model.n_estimators
    score = None if judge is None else judge.ndcg(model.booster_.predict(judge.matrix, num_iteration=best))
    return Fitted(model.booster_, best, score)


def _parameters(config: RankerConfig, gains: list[float]) -> dict[str, Any]:
    fixed = {
        "random_state": config.seed,
        "deterministic": True,
        "force_row_wise": True,
        "metric": "None",
        "verbosity": -1,
        "n_jobs": config.threads or -1,
    }
    if config.objective in ("lambdarank", "rank_xendcg"):
        fixed["label_gain"] = gains
    return {**config.params, **fixed}


def _targets(config: RankerConfig, gains: list[float], labels: np.ndarray) -> np.ndarray:
    """What the objective is fitted to: labels for ranking, 0 or 1 for binary, gains for regression."""
    if config.objective == "binary":
        return (labels > 0).astype(np.int32)
    return np.asarray(gains)[labels] if config.objective == "regression" else labels


def _reporter(on_round: OnRound) -> Callable[..., None]:
    def report(environment: Any) -> None:
        on_round(environment.iteration + 1)

    return report
