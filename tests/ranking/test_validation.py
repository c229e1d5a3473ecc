from __future__ import annotations

import numpy as np
import pyarrow as pa

from feature_repo.workspace import Workspace
from ranking.validation import user_folds, validate


def test_a_user_lies_in_one_fold_and_folds_are_even() -> None:
    users = pa.array([*range(20), *range(10)])
    fold = user_folds(users, 4, seed=1)
    np.testing.assert_array_equal(fold[:10], fold[20:])
    assert np.bincount(fold[:20]).tolist() == [5, 5, 5, 5]
    np.testing.assert_array_equal(fold, user_folds(users, 4, seed=1))
    assert (fold != user_folds(users, 4, seed=2)).any()


def test_both_ways_are_measured_on_lists_with_something_to_find(trained: Workspace) -> None:
    later, by_users = validate(trained, folds=3)
    assert (later.name, by_users.name) == ("time-ordered", "by users")
    assert (len(later.rounds), len(by_users.rounds)) == (1, 3)
    assert by_users.lists > later.lists > 0
    assert 0 < later.ndcg < 1
    assert 0 < by_users.ndcg < 1
    assert later.error > 0
