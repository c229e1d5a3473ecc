"""Stage two's model: LightGBM, stopped early by the metric that users are shown, or an estimator in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_repo.config import Objective, RankerConfig
from ranking.boosting import Data, OnRound, fit_booster
from ranking.encoding import Encoding
from ranking.estimator import Plugged, configured_estimator, fit_estimator
from ranking.matrices import predict
from ranking.merge import merge
from ranking.metrics import K, ndcg
from ranking.order import EMPTY, Groups, top_rows

if TYPE_CHECKING:
    import lightgbm


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
    user's truth holds, proposed or not; `users`: judged users, those without candidates included (they score zero);
    `user_ids`: own id per group.
    """

    matrix: np.ndarray
    groups: Groups
    hit: np.ndarray
    relevant: np.ndarray
    users: int
    user_ids: pa.Array | None = None

    def per_group(self, scores: np.ndarray) -> np.ndarray:
        """Return NDCG@10 of each group's list."""
        rows = top_rows(scores, self.groups, K)
        return ndcg(self.hit[rows] & (rows != EMPTY), self.relevant, K)

    def ndcg(self, scores: np.ndarray) -> float:
        return float(self.per_group(scores).sum() / self.users)


@dataclass(frozen=True)
class Member:
    """One booster of a model: what it was fitted to, with which seed, its number of trees and its weight in the sum."""

    objective: Objective
    seed: int
    rounds: int
    weight: float


@dataclass(frozen=True)
class Fitted:
    """A trained booster, its number of trees and the validation metric at that number (None without a judge).

    Of several members the booster is their weighted sum. An estimator has no members and 0 trees.
    """

    booster: lightgbm.Booster | Plugged
    rounds: int
    ndcg: float | None
    members: tuple[Member, ...]


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
    """Fit the configured objectives and seeds; with a judge, each keeps its trees up to the best validation NDCG@10.

    `gains` maps a label to its gain; `rounds` fixes the number of trees (default: the configuration's bound). A member
    weighs 1 / standard deviation of its scores within a user's candidates, so that each has an equal say. A configured
    estimator is fitted once, with all of its rounds.
    """
    wanted = configured_estimator(config)
    if wanted is not None:
        plugged = fit_estimator(wanted, config, encoding, examples)
        return Fitted(plugged, 0, None if judge is None else judge.ndcg(predict(plugged, judge.matrix)), ())
    data = Data(config, gains, encoding, examples, judge)
    seen = judge or examples
    boosters, members = [], []
    drawn = [(objective, config.seed + n) for objective in config.objectives for n in range(config.boosters)]
    for number, (objective, seed) in enumerate(drawn):
        report = _part(on_round, number, len(drawn), rounds or config.rounds)
        booster, best = fit_booster(data, objective, seed, rounds or config.rounds, report)
        spread = within_groups(predict(booster, seen.matrix, rounds=best, raw=True), seen.groups)
        boosters.append(booster)
        members.append(Member(objective, seed, best, 1 / spread if spread else 1.0))
    return _joined(boosters, members, judge)


def refit_ranker(
    config: RankerConfig, gains: list[float], encoding: Encoding, examples: Examples, chosen: Fitted
) -> Fitted:
    """Fit the chosen members again to other examples: trees, seeds and weights stay as they were chosen."""
    wanted = configured_estimator(config)
    if wanted is not None:
        return Fitted(fit_estimator(wanted, config, encoding, examples), 0, None, ())
    data = Data(config, gains, encoding, examples)
    boosters = [fit_booster(data, member.objective, member.seed, member.rounds)[0] for member in chosen.members]
    return _joined(boosters, list(chosen.members), None)


def within_groups(scores: np.ndarray, groups: Groups) -> float:
    """Return the standard deviation of scores around the mean of their group."""
    number = groups.number()
    means = np.bincount(number, weights=scores) / groups.sizes
    return float(np.sqrt(np.mean((scores - means[number]) ** 2)))


def _joined(boosters: list[lightgbm.Booster], members: list[Member], judge: Judge | None) -> Fitted:
    booster, rounds = boosters[0], members[0].rounds
    if len(members) > 1:
        booster = merge(boosters, [member.rounds for member in members], [member.weight for member in members])
        rounds = booster.num_trees()
    score = None if judge is None else judge.ndcg(predict(booster, judge.matrix, rounds=rounds))
    return Fitted(booster, rounds, score, tuple(members))


def _part(on_round: OnRound | None, number: int, of: int, most: int) -> OnRound | None:
    """Report the rounds of one of several members as rounds of the whole."""
    return None if on_round is None else lambda done: on_round((number * most + done) // of)
