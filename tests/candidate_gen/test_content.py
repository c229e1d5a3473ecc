from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from candidate_gen.content import Content
from candidate_gen.history import recent_items

ITEMS = {
    "item_id": [f"i{number}" for number in range(5, 16)],
    "title": ["red fox", "Red dog", "blue fox", None, "blue dog", "dog", "a fox", "green", "red", "", "dog fox"],
    "categories": [["A"], ["A", "B"], ["B"], None, [], ["C"], ["A"], ["B"], None, None, ["C", "A"]],
}


def slow_vectors(words: list[list[str]]) -> np.ndarray:
    vocabulary = sorted({word for row in words for word in row})
    vectors = np.zeros((len(words), len(vocabulary)))
    for row, said in enumerate(words):
        for word in said:
            frequency = sum(word in other for other in words)
            vectors[row, vocabulary.index(word)] += math.log((1 + len(words)) / (1 + frequency)) + 1
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def words_of(title: str | None, categories: list[str] | None) -> list[str]:
    return (title or "").lower().split() + [f"categories={name}" for name in categories or []]


def test_equals_the_slow_version(random_log):
    log = random_log(8, tables={"items": ITEMS})
    source = Content(history=3, history_decay=0.5, min_items=1).fit(log)
    columns = (log.items[name].to_pylist() for name in ("title", "categories"))
    vectors = slow_vectors([words_of(*row) for row in zip(*columns, strict=True)])
    profiles = recent_items(log, last=3, position_decay=0.5).toarray() @ vectors
    length = np.linalg.norm(profiles, axis=1, keepdims=True)
    expected = np.where(length > 0, profiles / np.maximum(length, 1e-12), np.nan) @ vectors.T
    expected[:, ~vectors.any(axis=1)] = np.nan
    np.testing.assert_allclose(source.score_batch(np.arange(log.shape[0])), expected, rtol=1e-5, atol=1e-6)


def test_new_items_without_events_are_proposed(read_log):
    items = {"item_id": ["x", "new", "other"], "categories": [["A"], ["A"], ["B"]]}
    source = Content(min_items=1).fit(read_log([("a", "x", 1.0, 1.0)], items=items))
    assert source.recommend(pa.array(["a"]), 1)["item_id"].to_pylist() == ["new"]


@pytest.mark.parametrize("items", [None, {"item_id": ["i5"], "title": pa.array([None], pa.string())}])
def test_items_without_attributes_are_not_scored(random_log, items):
    log = random_log(8, tables={"items": items} if items else None)
    source = Content().fit(log)
    assert np.isnan(source.score_batch(np.arange(log.shape[0]))).all()
    assert source.recommend(log.user_ids, 3).num_rows == 0


def test_unknown_users_and_users_without_history_are_not_served(random_log):
    source = Content(min_items=1).fit(random_log(8, tables={"items": ITEMS}))
    assert source.recommend(pa.array(["u0", "nobody"]), 3).num_rows == 0
