from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from candidate_gen import factorization
from candidate_gen.factorization import AttributeFactorization
from candidate_gen.interactions import Interactions

USERS = {"user_id": [f"u{number}" for number in range(5, 17)], "plan": ["free", "paid", None, "free"] * 3}
ITEMS = {
    "item_id": ["i0", *(f"i{number}" for number in range(5, 15)), "new"],
    "categories": [["A"], ["B"], ["A", "B"], ["A"], None, ["B"], ["A"], ["B"], ["A"], ["B"], ["A"], ["A"]],
}
TABLES = {"users": USERS, "items": ITEMS}


def one_hot(values: list[list[str]]) -> np.ndarray:
    names = sorted({name for row in values for name in row})
    return np.array([[1.0, *(name in row for name in names)] for row in values])


def slow_half(
    confidence: np.ndarray, other: np.ndarray, attributes: np.ndarray, prior: np.ndarray, source: AttributeFactorization
) -> tuple[np.ndarray, np.ndarray]:
    """One row at a time: weighted least squares drawn to the prior, then a ridge regression on the attributes."""
    size = other.shape[1]
    factors = np.zeros((len(confidence), size))
    active = confidence.sum(axis=1) > 0
    for row in np.flatnonzero(active):
        weight = np.where(confidence[row] > 0, confidence[row], 1.0)
        wanted = (confidence[row] > 0).astype(float)
        normal = other.T @ (other * weight[:, None]) + source.regularization * np.eye(size)
        factors[row] = np.linalg.solve(normal, other.T @ (weight * wanted) + source.regularization * prior[row])
    known = attributes[active]
    normal = known.T @ known + source.attribute_ridge * np.eye(known.shape[1])
    return factors, attributes @ np.linalg.solve(normal, known.T @ factors[active])


def slow_scores(log: Interactions, source: AttributeFactorization) -> np.ndarray:
    plans, categories = log.users["plan"].to_pylist(), log.items["categories"].to_pylist()
    user_attributes = one_hot([[plan] if plan else [] for plan in plans])
    item_attributes = one_hot([names or [] for names in categories])
    confidence = source.alpha * log.positives.toarray()
    active = confidence.sum(axis=0) > 0
    y = np.random.default_rng(source.seed).normal(0, 0.1, (log.shape[1], source.factors)) * active[:, None]
    x_prior, y_prior = np.zeros((log.shape[0], source.factors)), np.zeros_like(y)
    for _ in range(source.iterations):
        x, x_prior = slow_half(confidence, y, user_attributes, x_prior, source)
        y, y_prior = slow_half(confidence.T, x, item_attributes, y_prior, source)
    x, _ = slow_half(confidence, y, user_attributes, x_prior, source)
    x = np.where(confidence.sum(axis=1)[:, None] > 0, x, x_prior)
    y = np.where(active[:, None], y, y_prior)
    return x @ y.T


@pytest.mark.parametrize("alpha", [0.5, 4.0])
def test_equals_the_slow_version(random_log, monkeypatch, alpha):
    monkeypatch.setattr(factorization, "_BLOCK_ROWS", 5)
    log = random_log(9, tables=TABLES)
    source = AttributeFactorization(3, 1.0, alpha, 0.5, iterations=4, min_rows=1, seed=2).fit(log)
    scores = source.score_batch(np.arange(log.shape[0]))
    expected = slow_scores(log, source)
    expected[source.silent_users_[:-1]] = np.nan
    expected[:, source.silent_items_] = np.nan
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_who_is_known_by_attributes_only_is_served(random_log, read_log):
    taste = [(f"u{u}", f"i{i}", 1.0, 1.0) for u in range(20) for i in range(20) if u % 2 == i % 2 and (u * i) % 3]
    users = {"user_id": [*(f"u{u}" for u in range(20)), "cold", "unseen"], "plan": ["even", "odd"] * 10 + ["odd"] * 2}
    items = {"item_id": [*(f"i{i}" for i in range(20)), "new"], "categories": [["E"], ["O"]] * 10 + [["O"]]}
    log = read_log([*taste, ("cold", "i0", 2.0, 0.0)], users=users, items=items)
    source = AttributeFactorization(4, 0.1, attribute_ridge=0.1).fit(log)
    top = source.recommend(pa.array(["cold"]), 5)["item_id"].to_pylist()
    assert all(int(item[1:]) % 2 == 1 for item in top if item != "new")
    pairs = source.score(pa.array(["u1", "u2", "cold", "unseen", "nobody"]), pa.array(["new"] * 5)).to_pylist()
    assert pairs[0] > 0.3 > pairs[1]
    assert pairs[2] == pairs[3] > 0.3
    assert pairs[4] is None


def test_without_attributes_it_is_plain_matrix_factorisation(random_log):
    log = random_log(9)
    source = AttributeFactorization(2, iterations=3).fit(log)
    scores = source.score_batch(np.append(np.arange(log.shape[0], dtype=np.int32), np.int32(-1)))
    served = np.diff(log.positives.indptr) > 0
    known = log.positives.sum(axis=0) > 0
    np.testing.assert_array_equal(np.isfinite(scores), np.append(served, False)[:, None] & known)


def test_a_seed_decides_to_the_byte(random_log):
    log = random_log(9, tables=TABLES)
    first, again = (AttributeFactorization(4, seed=5).fit(log).item_factors_ for _ in range(2))
    other = AttributeFactorization(4, seed=6).fit(log).item_factors_
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_a_log_without_events_serves_nobody(read_log):
    log = read_log([("a", "x", 9.0, 1.0)], items={"item_id": ["x"], "title": ["t"]}, as_of=1.0)
    assert AttributeFactorization().fit(log).recommend(pa.array(["a"]), 3).num_rows == 0
