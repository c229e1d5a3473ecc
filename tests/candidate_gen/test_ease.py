from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from candidate_gen import ease
from candidate_gen.ease import EASE, SourceTooLarge
from candidate_gen.history import recent_items
from feature_repo.errors import ConfigError


def slow_weights(binary: np.ndarray, regularization: float) -> np.ndarray:
    """Ridge regression of every item on all others, one at a time: what the closed form solves."""
    items = binary.shape[1]
    weights = np.zeros((items, items))
    for item in range(items):
        others = np.arange(items) != item
        inputs = binary[:, others]
        normal = inputs.T @ inputs + regularization * np.eye(items - 1)
        weights[others, item] = np.linalg.solve(normal, inputs.T @ binary[:, item])
    return weights


@pytest.mark.parametrize("regularization", [0.5, 30.0])
@pytest.mark.parametrize("half_life", [None, 4.0])
def test_equals_one_regression_per_item(random_log, monkeypatch, regularization, half_life):
    monkeypatch.setattr(ease, "BLOCK_WORK", 50)
    log = random_log(7, items=30, users=40, events=400)
    source = EASE(regularization, half_life_days=half_life).fit(log)
    binary = (log.positives.toarray() > 0).astype(float)
    history = recent_items(log, half_life_days=half_life).toarray()
    expected = history @ slow_weights(binary, regularization)
    expected[history.sum(axis=1) == 0] = np.nan
    expected[:, binary.sum(axis=0) == 0] = np.nan
    np.testing.assert_allclose(source.score_batch(np.arange(log.shape[0])), expected, rtol=1e-4, atol=1e-5)


def test_inverts_across_blocks(read_log):
    random = np.random.default_rng(0)
    rows = [(f"u{u}", int(i), 1.0, 1.0) for u in range(60) for i in random.choice(1500, 60, replace=False)]
    log = read_log(rows)
    source = EASE(10.0).fit(log)
    binary = (log.positives.toarray() > 0).astype(float)
    inverse = np.linalg.inv(binary.T @ binary + 10.0 * np.eye(binary.shape[1]))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    assert binary.shape[1] > 1024
    np.testing.assert_allclose(source.weights_, expected, atol=1e-6)


def test_too_many_items_says_how_much_memory_it_would_take(random_log):
    with pytest.raises(SourceTooLarge, match=r"at most 3 items .* got 9, whose weights take 0\.0 GB"):
        EASE(max_items=3).fit(random_log(7))
    assert issubclass(SourceTooLarge, ConfigError)


def test_a_singular_matrix_is_an_error_with_a_way_out(read_log):
    with pytest.raises(ConfigError, match="Raise regularization"):
        EASE(0.0).fit(read_log([("a", "x", 1.0, 1.0), ("a", "y", 1.0, 1.0)]))


def test_users_without_history_are_not_served(random_log):
    assert EASE(1.0).fit(random_log(7)).recommend(pa.array(["u0", "nobody"]), 3).num_rows == 0


def test_a_log_without_labels_proposes_nothing(read_log):
    assert EASE().fit(read_log([("a", "x", 1.0, 0.0)])).recommend(pa.array(["a"]), 3).num_rows == 0
