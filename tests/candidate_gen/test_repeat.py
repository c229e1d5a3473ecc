from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from candidate_gen.interactions import Interactions, microseconds
from candidate_gen.pipeline import Stage
from candidate_gen.popularity import Popularity
from candidate_gen.repeat import RepeatConsumption


def slow_scores(log: Interactions, half_life: float | None) -> np.ndarray:
    sums = np.zeros(log.shape)
    for user, item, time, weight in zip(log.user, log.item, log.time, log.weight, strict=True):
        age = (microseconds(log.as_of) - int(time)) / 86_400e6
        sums[user, item] += weight * (0.5 ** (age / half_life) if half_life else 1.0)
    return np.log2(np.where(sums > 0, sums, np.nan))


@pytest.mark.parametrize("half_life", [None, 3.0, 30.0])
def test_equals_the_slow_version(random_log, half_life):
    log = random_log(1)
    scores = RepeatConsumption(half_life).fit(log).score_batch(np.arange(log.shape[0]))
    np.testing.assert_allclose(scores, slow_scores(log, half_life), rtol=1e-5, atol=1e-6)


def test_proposes_only_where_repeats_are_allowed(read_log):
    log = read_log([("b", "y", 1.0, 1.0), ("b", "x", 1.0, 1.0), ("b", "z", 5.0, 1.0), ("a", "x", 2.0, 0.0)])
    source = RepeatConsumption().fit(log)
    users = pa.array(["a", "b", "nobody"])
    assert source.recommend(users, 5).num_rows == 0
    repeated = source.recommend(users, 5, exclude_seen=False)
    assert repeated["user_id"].to_pylist() == ["b", "b", "b"]
    assert repeated["item_id"].to_pylist() == ["z", "x", "y"]
    assert source.score(pa.array(["a", "b", "nobody"]), pa.array(["x", "x", "x"])).is_null().to_pylist() == [
        True,
        False,
        True,
    ]


def test_events_many_half_lives_ago_stay_apart(read_log):
    source = RepeatConsumption(half_life_days=1.0).fit(
        read_log([("a", "x", 0.0, 1.0), ("a", "y", 1.0, 1.0)], as_of=9000.0)
    )
    scores = source.score_batch(np.array([0]))[0]
    assert scores[1] - scores[0] == pytest.approx(1.0)
    assert math.isclose(scores[1], -8999.0)


def test_from_passive_events_it_proposes_what_was_met_and_not_consumed(read_log):
    log = read_log([("a", "x", 1.0, 0.0), ("a", "y", 2.0, 0.0), ("a", "z", 3.0, 1.0), ("a", "z", 4.0, 0.0)])
    log = replace(log, consuming=log.weight > 0)
    proposed = RepeatConsumption(events="passive").fit(log).recommend(pa.array(["a"]), 5)
    assert proposed["item_id"].to_pylist() == ["y", "x"]


@pytest.mark.parametrize(
    ("consuming", "allow_repeats", "left_out"),
    [([True, True], False, True), ([True, True], True, False), ([True, False], False, False)],
)
def test_left_out_where_all_of_the_past_is_consumed_and_may_not_come_again(
    read_log, consuming, allow_repeats, left_out
):
    log = read_log([("a", "x", 1.0, 1.0), ("b", "y", 2.0, 1.0)])
    log = replace(log, consuming=np.array(consuming))
    sources = {"repeat": RepeatConsumption(), "popular": Popularity()}
    stage = Stage.fit(log, sources, dict.fromkeys(sources, 5), allow_repeats=allow_repeats)
    assert ("repeat" in stage.skipped) == left_out
