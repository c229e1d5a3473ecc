from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from ranking import metrics

K = 10


def brute_force(hits: list[bool], relevant: int, k: int) -> dict[str, float]:
    """The textbook, one user at a time."""
    top = hits[:k]
    places = [place for place, hit in enumerate(top, start=1) if hit]
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, relevant) + 1))
    return {
        "ndcg": sum(1 / math.log2(place + 1) for place in places) / ideal,
        "map": sum(sum(top[:place]) / place for place in places) / min(k, relevant),
        "recall": len(places) / relevant,
        "precision": len(places) / k,
        "mrr": 1 / places[0] if places else 0.0,
        "hitrate": float(bool(places)),
    }


@st.composite
def judged_users(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    depth = draw(st.integers(1, 25))
    users = draw(st.integers(1, 6))
    hits = np.array(draw(st.lists(st.lists(st.booleans(), min_size=depth, max_size=depth),
                                  min_size=users, max_size=users)))  # fmt: skip
    extra = np.array(draw(st.lists(st.integers(0, 20), min_size=users, max_size=users)))
    return hits, np.maximum(hits.sum(axis=1) + extra, 1)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(judged_users(), st.sampled_from([1, 3, 10]))
def test_every_metric_equals_the_textbook(judged: tuple[np.ndarray, np.ndarray], k: int) -> None:
    hits, relevant = judged
    expected = [brute_force(row.tolist(), int(count), k) for row, count in zip(hits, relevant, strict=True)]
    for name, metric in metrics.HEADLINE.items():
        np.testing.assert_allclose(metric(hits, relevant, k), [row[name] for row in expected], err_msg=name)


def test_ndcg_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((50, 40)) < 0.15
    truth[:, 0] = True
    scores = rng.random(truth.shape)
    order = np.argsort(-scores, axis=1)
    hits = np.take_along_axis(truth, order, axis=1)
    expected = ndcg_score(truth.astype(float), scores, k=K)
    assert metrics.ndcg(hits, truth.sum(axis=1), K).mean() == pytest.approx(expected)


def test_users_without_a_hit_count_as_zero() -> None:
    hits = np.array([[True, False], [False, False]])
    assert metrics.headline(hits, np.array([1, 5]), K) == {
        "ndcg@10": 0.5,
        "map@10": 0.5,
        "recall@10": 0.5,
        "precision@10": 0.05,
        "mrr@10": 0.5,
        "hitrate@10": 0.5,
    }


def test_every_user_gets_every_metric() -> None:
    rng = np.random.default_rng(3)
    hits = rng.random((7, 60)) < 0.2
    relevant = np.maximum(hits.sum(axis=1), 1)
    values = metrics.per_user(hits, relevant, 10)
    assert {name: value.mean() for name, value in values.items()}.items() >= metrics.headline(
        hits, relevant, 10
    ).items()
    assert {"ndcg@5", "ndcg@10", "ndcg@20", "ndcg@50", "precision@1"} < set(values)
    np.testing.assert_array_equal(values["precision@1"], hits[:, 0])
    np.testing.assert_array_equal(values["ndcg@50"], metrics.ndcg(hits, relevant, 50))


def test_bootstrap_is_seeded_and_brackets_the_mean() -> None:
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(0.2, 0.3, 400), rng.normal(0.1, 0.3, 400)
    first = metrics.paired_bootstrap(ours, theirs, seed=3)
    assert first == metrics.paired_bootstrap(ours, theirs, seed=3)
    mean, low, high = first
    assert low < mean < high
    standard_error = (ours - theirs).std() / math.sqrt(400)
    assert high - low == pytest.approx(2 * 1.96 * standard_error, rel=0.1)


def test_equal_lists_do_not_differ() -> None:
    values = np.array([0.1, 0.2, 0.3])
    assert metrics.paired_bootstrap(values, values, seed=0) == (0.0, 0.0, 0.0)
