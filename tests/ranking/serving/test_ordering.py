"""Orders on lists small enough to work out by hand, and greedy choices against the slow obvious loop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from ranking.serving.ordering import ORDERS, Calibrated, Mmr, with_unfamiliar

CATEGORIES = [["a"], ["a"], ["a"], ["b"], ["b"], ["c"], None]
SHARES = {"user_categories": [["a", "b"]] * 7, "user_category_share_all": [[0.5, 0.5]] * 7}
ROWS = np.arange(7)
SCORES = np.array([7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0])


@pytest.mark.parametrize("name", sorted(ORDERS))
def test_an_order_loses_and_invents_nothing(pool: Callable, name: str) -> None:
    made = pool(item_categories=CATEGORIES, **SHARES)
    arranged = ORDERS[name]().arrange(made, ROWS, SCORES, 4)
    assert sorted(arranged.tolist()) == ROWS.tolist()
    assert ORDERS[name]().arrange(made, ROWS[:0], SCORES, 4).tolist() == []


def test_mmr_with_full_relevance_is_the_order_by_score(pool: Callable) -> None:
    made = pool(item_categories=CATEGORIES, **SHARES)
    assert Mmr(relevance=1.0).arrange(made, ROWS, SCORES, 7).tolist() == ROWS.tolist()


def test_mmr_brings_other_categories_forward(pool: Callable) -> None:
    made = pool(item_categories=CATEGORIES, **SHARES)
    assert Mmr(relevance=0.3).arrange(made, ROWS, SCORES, 3)[:3].tolist() == [0, 3, 5]


def test_mmr_over_vectors_equals_the_slow_loop(pool: Callable) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(30, 4)).astype(np.float32)
    scores = np.sort(rng.normal(size=30))[::-1]
    made = pool(item_vector=pa.array(vectors.tolist(), pa.list_(pa.float32())))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = np.maximum(unit @ unit.T, 0)
    value = (scores - scores.min()) / (scores.max() - scores.min())
    chosen: list[int] = []
    for _ in range(10):
        rest = [i for i in range(30) if i not in chosen]
        gains = [0.6 * value[i] - 0.4 * max((likeness[i, j] for j in chosen), default=0) for i in rest]
        chosen.append(rest[int(np.argmax(gains))])
    assert Mmr(relevance=0.6, by="item_vector").arrange(made, np.arange(30), scores, 10)[:10].tolist() == chosen


def test_calibration_follows_the_history(pool: Callable) -> None:
    made = pool(item_categories=CATEGORIES, **SHARES)
    listed = Calibrated(strength=0.99).arrange(made, ROWS, SCORES, 4)[:4]
    assert sorted(listed.tolist()) == [0, 1, 3, 4]
    assert Calibrated(strength=0.0).arrange(made, ROWS, SCORES, 4).tolist() == ROWS.tolist()


def test_calibration_without_a_history_changes_nothing(pool: Callable) -> None:
    made = pool(
        item_categories=CATEGORIES,
        user_categories=pa.nulls(7, pa.list_(pa.string())),
        user_category_share_all=pa.nulls(7, pa.list_(pa.float32())),
    )
    assert Calibrated().arrange(made, ROWS, SCORES, 4).tolist() == ROWS.tolist()


@pytest.mark.parametrize(("share", "expected"), [(0.0, [0, 1, 2, 3]), (0.5, [0, 1, 4, 5]), (1.0, [0, 4, 5, 6])])
def test_the_share_of_unfamiliar_items(pool: Callable, share: float, expected: list[int]) -> None:
    made = pool(
        item_categories=CATEGORIES,
        user_categories=[["a", "b"]] * 7,
        user_category_share_all=[[0.7, 0.3]] * 7,
    )
    listed = with_unfamiliar(made, ROWS, 4, share)
    assert listed.tolist() == sorted(listed.tolist())
    assert len(listed) == 4
    assert (made.familiarity[listed] < 0.3).sum() == sum(SCORES[row] < 3 for row in expected)
