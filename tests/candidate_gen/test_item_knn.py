from __future__ import annotations

import numpy as np
import pytest
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from scipy import sparse

from candidate_gen.history import recent_items
from candidate_gen.interactions import Interactions
from candidate_gen.item_knn import BM25ItemKNN, CosineItemKNN, ItemKNN, TFIDFItemKNN

PAIRS = [
    (BM25ItemKNN(100, k1=0.7, b=0.3), BM25Recommender(100, K1=0.7, B=0.3, num_threads=1)),
    (TFIDFItemKNN(100), TFIDFRecommender(100, num_threads=1)),
    (CosineItemKNN(100), CosineRecommender(100, num_threads=1)),
]


@pytest.mark.parametrize(("source", "peer"), PAIRS, ids=["bm25", "tfidf", "cosine"])
def test_similarity_and_scores_equal_implicit(random_log, source, peer):
    log = random_log(8, users=30, items=40, events=200)
    liked = np.flatnonzero(log.positives.count_nonzero(axis=0))
    counts = sparse.csr_matrix(log.positives[:, liked])
    with np.errstate(invalid="ignore"):
        peer.fit(counts, show_progress=False)
    source.fit(log)
    similarity = source.similarity_.toarray()[np.ix_(liked, liked)]
    np.testing.assert_allclose(similarity, peer.similarity.toarray(), rtol=1e-5, atol=1e-7)
    served = np.flatnonzero(counts.getnnz(axis=1))
    expected = counts[served].toarray().astype(float) @ peer.similarity.toarray()
    scores = source.score_batch(served.astype(np.int32))
    np.testing.assert_allclose(scores[:, liked], expected, rtol=1e-5, atol=1e-6)


def slow_cosine(log: Interactions, k: int) -> np.ndarray:
    liked = log.positives.toarray().astype(float)
    items = liked.shape[1]
    result = np.zeros((items, items))
    for one in range(items):
        norms = [np.linalg.norm(liked[:, one]) * np.linalg.norm(liked[:, other]) for other in range(items)]
        cosine = [
            np.float32(liked[:, one] @ liked[:, other] / norms[other]) if norms[other] else 0.0
            for other in range(items)
        ]
        nearest = sorted(range(items), key=lambda other: (-cosine[other], other))[:k]
        for other in nearest:
            result[one, other] = cosine[other]
    return result


@pytest.mark.parametrize("half_life", [None, 9.0])
def test_a_history_sums_over_its_items_neighbours(random_log, half_life):
    log = random_log(3)
    source = CosineItemKNN(neighbours=4, half_life_days=half_life).fit(log)
    similarity = slow_cosine(log, 4)
    np.testing.assert_allclose(source.similarity_.toarray(), similarity, rtol=1e-5, atol=1e-7)
    scores = source.score_batch(np.arange(log.shape[0], dtype=np.int32))
    served, liked = log.positives.count_nonzero(axis=1) > 0, log.positives.count_nonzero(axis=0) > 0
    history = log.positives if half_life is None else recent_items(log, half_life_days=half_life)
    expected = np.where(served[:, None] & liked, history.toarray() @ similarity, np.nan)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_items_without_a_matching_neighbour_are_scored_zero_and_not_proposed(read_log):
    log = read_log([("a", "x", 1.0, 1.0), ("b", "x", 1.0, 1.0), ("b", "y", 1.0, 1.0), ("c", "z", 1.0, 1.0)])
    source = CosineItemKNN(neighbours=5).fit(log)
    assert source.score_batch(np.array([0], np.int32))[0, 2] == 0.0
    assert source.recommend(log.user_ids[:1], 5)["item_id"].to_pylist() == ["y"]


def test_the_scores_do_not_depend_on_how_full_the_similarity_is_stored(random_log, monkeypatch):
    log = random_log(3)
    users, found = np.arange(log.shape[0], dtype=np.int32), {}
    for kind, cost in ((np.ndarray, 1e9), (sparse.csr_array, 0.0)):
        monkeypatch.setattr("candidate_gen.similarity.SPARSE_COST", {4: cost, 8: cost})
        source: ItemKNN = BM25ItemKNN(neighbours=6).fit(log)
        assert isinstance(source.factor_, kind)
        found[kind] = source.score_batch(users).tobytes(), source.similarity_.toarray().tobytes()
    assert found[np.ndarray] == found[sparse.csr_array]
