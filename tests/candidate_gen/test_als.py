from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from candidate_gen.als import ALS


def test_scores_are_dot_products_and_the_unknown_is_null(random_log):
    log = random_log(4)
    source = ALS(factors=3, regularization=0.1).fit(log)
    liked_by, liked = log.positives.count_nonzero(axis=1) > 0, log.positives.count_nonzero(axis=0) > 0
    scores = source.score_batch(np.array([*range(log.shape[0]), -1], np.int32))
    expected = np.full(scores.shape, np.nan)
    for user in np.flatnonzero(liked_by):
        for item in np.flatnonzero(liked):
            expected[user, item] = sum(
                float(a) * float(b) for a, b in zip(source.user_factors_[user], source.item_factors_[item], strict=True)
            )
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    assert not liked_by.all()
    assert np.isnan(scores[-1]).all()


def test_factors_equal_implicit_run_directly(random_log):
    from implicit.cpu.als import AlternatingLeastSquares

    log = random_log(4)
    source = ALS(factors=3, regularization=0.1, alpha=2.0, iterations=4, seed=5).fit(log)
    peer = AlternatingLeastSquares(
        factors=3, regularization=0.1, alpha=2.0, iterations=4, random_state=5, num_threads=1
    )
    known = ~np.isnan(source.user_factors_[:, 0])
    liked = ~np.isnan(source.item_factors_[:, 0])
    peer.fit(sparse.csr_matrix(log.positives[known][:, liked]), show_progress=False)
    np.testing.assert_allclose(source.user_factors_[known], peer.user_factors, rtol=1e-5)
    np.testing.assert_allclose(source.item_factors_[liked], peer.item_factors, rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_seed_gives_the_same_bytes_on_any_number_of_threads(random_log, threads):
    log = random_log(4, users=60, items=40, events=1500)
    first, again = ALS(seed=1).fit(log), ALS(seed=1, threads=threads).fit(log)
    assert first.user_factors_.tobytes() == again.user_factors_.tobytes()
    assert first.item_factors_.tobytes() == again.item_factors_.tobytes()
    assert ALS(seed=2).fit(log).item_factors_.tobytes() != first.item_factors_.tobytes()


def test_ids_known_by_attributes_only_change_no_factor(random_log):
    tables = {"users": {"user_id": ["a1", "zz"]}, "items": {"item_id": ["a1"]}}
    alone, more = ALS(seed=1).fit(random_log(4)), ALS(seed=1).fit(random_log(4, tables=tables))
    assert np.nan_to_num(more.user_factors_[1:-1]).tobytes() == np.nan_to_num(alone.user_factors_).tobytes()
    assert np.nan_to_num(more.item_factors_[1:]).tobytes() == np.nan_to_num(alone.item_factors_).tobytes()
