from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from candidate_gen.interactions import Interactions
from candidate_gen.user_knn import UserKNN


def slow_scores(log: Interactions, source: UserKNN) -> np.ndarray:
    users, items = log.shape
    owned = np.zeros((users, items))
    latest = np.full(users, -1)
    for user, item, time, weight in zip(log.user, log.item, log.time, log.weight, strict=True):
        if weight > 0:
            owned[user, item] = weight
            latest[user] = max(latest[user], time)
    vectors = owned * (
        np.log((1 + (latest >= 0).sum()) / (1 + (owned > 0).sum(axis=0))) if source.weighting == "idf" else 1.0
    )
    pool = sorted(np.flatnonzero(latest >= 0), key=lambda user: (-latest[user], user))[: source.pool]
    consumed = log.decayed(source.half_life_days).toarray()
    scores = np.full((users, items), np.nan)
    for user in np.flatnonzero(latest >= 0):
        length = [np.linalg.norm(vectors[other]) for other in range(users)]
        similar = {
            other: vectors[user] @ vectors[other] / (length[user] * length[other]) for other in pool if other != user
        }
        nearest = sorted(similar, key=lambda other: (-np.float32(similar[other]), other))[: source.k]
        scores[user] = sum((similar[other] * consumed[other] for other in nearest), np.zeros(items))
    scores[:, owned.sum(axis=0) == 0] = np.nan
    return scores


@pytest.mark.parametrize("weighting", ["idf", "cosine"])
@pytest.mark.parametrize(("k", "pool", "half_life"), [(100, 100, None), (3, 7, 5.0)])
def test_equals_the_slow_version(random_log, weighting, k, pool, half_life):
    log = random_log(6)
    source = UserKNN(k, half_life, weighting, pool).fit(log)
    scores = source.score_batch(np.arange(log.shape[0]))
    np.testing.assert_allclose(scores, slow_scores(log, source), rtol=2e-5, atol=1e-6)


def test_among_equal_neighbours_the_smaller_user_wins(read_log):
    log = read_log([(user, "x", 1.0, 1.0) for user in "abcd"] + [("b", "y", 2.0, 1.0), ("c", "z", 2.0, 1.0)])
    top = UserKNN(k=2, weighting="cosine").fit(log).recommend(pa.array(["d"]), 5)
    assert top["item_id"].to_pylist() == ["y"]  # a and b, though c is as near as b


def test_unknown_users_and_users_without_history_are_not_served(random_log):
    source = UserKNN().fit(random_log(6))
    assert source.recommend(pa.array(["u0", "nobody"]), 3).num_rows == 0


def test_items_that_no_neighbour_has_are_scored_but_not_proposed(read_log):
    log = read_log([("a", "x", 1.0, 1.0), ("b", "x", 1.0, 1.0), ("b", "y", 1.0, 1.0), ("c", "z", 1.0, 1.0)])
    source = UserKNN(weighting="cosine").fit(log)
    assert source.recommend(pa.array(["a"]), 5)["item_id"].to_pylist() == ["y"]
    assert source.score(pa.array(["a"]), pa.array(["z"])).to_pylist() == [0.0]
