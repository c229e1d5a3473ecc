from __future__ import annotations

from types import SimpleNamespace

import lightgbm
import numpy as np
import pytest
from lightgbm.callback import EarlyStopException

from feature_repo.config import RankerConfig
from feature_repo.errors import ConfigError
from ranking.boosting import _Stop, parameters, without_constraints_on_others
from ranking.encoding import Column, Encoding
from ranking.order import Groups
from ranking.ranker import Examples, Judge, fit_ranker, refit_ranker, within_groups

USERS, PER_USER = 60, 20
ENCODING = Encoding((Column("taste", "number"), Column("noise", "number"), Column("kind", "category", ("a", "b"))))
GROUPS = Groups(np.full(USERS, PER_USER))


def world(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose relevance follows the first column."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(USERS * PER_USER, 3)).astype(np.float32)
    matrix[:, 2] = rng.integers(0, 2, len(matrix))
    relevant = matrix[:, 0] + rng.normal(scale=0.3, size=len(matrix)) > 1.2
    return matrix, relevant


def judge_of(seed: int) -> Judge:
    matrix, relevant = world(seed)
    counts = np.maximum(np.bincount(GROUPS.number(), weights=relevant).astype(int), 1)
    return Judge(matrix, GROUPS, relevant, counts, users=USERS)


def examples_of(seed: int, shuffle: bool = False) -> Examples:
    matrix, relevant = world(seed)
    labels = relevant.astype(np.int32)
    return Examples(matrix, np.random.default_rng(9).permutation(labels) if shuffle else labels, GROUPS)


@pytest.mark.parametrize("objective", ["lambdarank", "rank_xendcg", "binary", "regression"])
def test_every_objective_learns_behind_one_interface(objective: str) -> None:
    config = RankerConfig(objective=objective, rounds=40, early_stopping=10, threads=1)
    fitted = fit_ranker(config, [0.0, 1.0], ENCODING, examples_of(0), judge=judge_of(1))
    assert fitted.ndcg > 0.8
    assert 1 <= fitted.rounds <= 40


def test_same_seed_gives_the_same_bytes() -> None:
    config = RankerConfig(params={"bagging_fraction": 0.7, "bagging_freq": 1}, rounds=15, threads=1, seed=4)
    first, second = (fit_ranker(config, [0.0, 1.0], ENCODING, examples_of(0)) for _ in range(2))
    assert first.booster.model_to_string() == second.booster.model_to_string()
    other = fit_ranker(config.model_copy(update={"seed": 5}), [0.0, 1.0], ENCODING, examples_of(0))
    assert other.booster.model_to_string() != first.booster.model_to_string()


def test_early_stopping_keeps_the_best_round_of_the_truth_protocol() -> None:
    config = RankerConfig(rounds=60, early_stopping=5, smoothing=1, threads=1)
    judge = judge_of(1)
    fitted = fit_ranker(config, [0.0, 1.0], ENCODING, examples_of(0), judge=judge)
    by_round = [judge.ndcg(fitted.booster.predict(judge.matrix, num_iteration=n)) for n in range(1, fitted.rounds + 5)]
    assert fitted.ndcg == max(by_round)
    assert by_round.index(max(by_round)) + 1 == fitted.rounds


def test_rounds_can_be_fixed() -> None:
    fitted = fit_ranker(RankerConfig(threads=1), [0.0, 1.0], ENCODING, examples_of(0), rounds=7)
    assert (fitted.rounds, fitted.booster.num_trees(), fitted.ndcg) == (7, 7, None)


def test_graded_labels_take_their_gains() -> None:
    examples = examples_of(0)
    graded = Examples(examples.matrix, examples.labels * 2, examples.groups)
    config = RankerConfig(rounds=5, labels="graded", threads=1)
    assert fit_ranker(config, [0.0, 0.2, 1.0], ENCODING, graded).booster.num_trees() == 5


def test_shuffled_labels_teach_nothing() -> None:
    config = RankerConfig(rounds=40, early_stopping=40, threads=1)
    judge = judge_of(1)
    random_order = np.mean([judge.ndcg(np.random.default_rng(n).random(len(judge.hit))) for n in range(20)])
    learned = fit_ranker(config, [0.0, 1.0], ENCODING, examples_of(0), judge=judge).ndcg
    shuffled = fit_ranker(config, [0.0, 1.0], ENCODING, examples_of(0, shuffle=True), judge=None, rounds=40)
    assert judge.ndcg(shuffled.booster.predict(judge.matrix)) < random_order + 0.3 * (learned - random_order)


def test_users_without_candidates_count_as_zero() -> None:
    judge = judge_of(1)
    scores = judge.matrix[:, 0]
    halved = Judge(judge.matrix, judge.groups, judge.hit, judge.relevant, users=2 * USERS)
    assert halved.ndcg(scores) == pytest.approx(judge.ndcg(scores) / 2)


def test_a_blend_is_the_weighted_sum_of_its_members_in_one_booster() -> None:
    config = RankerConfig(objective="lambdarank", blend=["binary"], boosters=2, rounds=30, smoothing=5, threads=1)
    judge = judge_of(1)
    fitted = fit_ranker(config, [0.0, 1.0], ENCODING, examples_of(0), judge=judge)
    assert [(member.objective, member.seed) for member in fitted.members] == [
        ("lambdarank", 0),
        ("lambdarank", 1),
        ("binary", 0),
        ("binary", 1),
    ]
    assert fitted.rounds == fitted.booster.num_trees() == sum(member.rounds for member in fitted.members)
    expected = np.zeros(len(judge.matrix))
    for member in fitted.members:
        alone = config.model_copy(update={"objective": member.objective, "blend": [], "boosters": 1})
        alone = alone.model_copy(update={"seed": member.seed})
        booster = fit_ranker(alone, [0.0, 1.0], ENCODING, examples_of(0), rounds=member.rounds).booster
        scores = booster.predict(judge.matrix, raw_score=True)
        assert within_groups(scores * member.weight, judge.groups) == pytest.approx(1.0)
        expected += member.weight * scores
    np.testing.assert_allclose(fitted.booster.predict(judge.matrix), expected, rtol=1e-9)


def test_a_refit_keeps_members_weights_and_bytes() -> None:
    config = RankerConfig(blend=["binary"], boosters=2, rounds=20, smoothing=5, threads=1)
    chosen = fit_ranker(config, [0.0, 1.0], ENCODING, examples_of(0), judge=judge_of(1))
    first, second = (refit_ranker(config, [0.0, 1.0], ENCODING, examples_of(2), chosen) for _ in range(2))
    assert first.members == chosen.members
    assert first.rounds == chosen.rounds
    assert first.booster.model_to_string() == second.booster.model_to_string()
    assert first.booster.model_to_string() != chosen.booster.model_to_string()


def test_one_member_is_what_lightgbm_itself_fits() -> None:
    examples = examples_of(0)
    peer = lightgbm.LGBMRanker(objective="lambdarank", n_estimators=12, random_state=0, n_jobs=1, verbosity=-1)
    peer.fit(examples.matrix, examples.labels, group=examples.groups.sizes, categorical_feature=ENCODING.categories)
    fitted = fit_ranker(RankerConfig(threads=1), [0.0, 1.0], ENCODING, examples, rounds=12)
    np.testing.assert_allclose(fitted.booster.predict(examples.matrix), peer.predict(examples.matrix), rtol=1e-6)


def test_monotone_constraints_go_by_name() -> None:
    config = RankerConfig(params={"monotone_constraints": {"noise": -1}}, rounds=30, threads=1)
    fitted = fit_ranker(config, [0.0, 1.0], ENCODING, examples_of(0), rounds=30)
    rows = np.repeat(world(3)[0][:1], 50, axis=0)
    rows[:, 1] = np.linspace(-3, 3, 50)
    assert (np.diff(fitted.booster.predict(rows)) <= 0).all()
    assert parameters(config, "binary", 0, [], ENCODING.names)["monotone_constraints"] == [0, -1, 0]
    fewer = without_constraints_on_others(config, ["taste"])
    assert parameters(fewer, "binary", 0, [], ["taste"]).get("monotone_constraints") is None
    with pytest.raises(ConfigError, match="noise"):
        parameters(config, "binary", 0, [], ["noice", "taste"])


def test_smoothing_does_not_stop_at_a_lucky_round() -> None:
    stop = _Stop(patience=4, smoothing=3)
    for value in [0.1, 0.1, 0.45, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.3, 0.2, 0.2]:
        stop(SimpleNamespace(evaluation_result_list=[("valid", "ndcg@10", value, True)]))
    assert stop.best == 9
    with pytest.raises(EarlyStopException):
        stop(SimpleNamespace(evaluation_result_list=[("valid", "ndcg@10", 0.2, True)]))
