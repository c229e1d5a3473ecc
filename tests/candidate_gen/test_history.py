from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from candidate_gen.history import recent_items
from candidate_gen.interactions import Interactions, microseconds


def slow_recent_items(log: Interactions, last: int | None, half_life: float | None, decay: float) -> np.ndarray:
    result = np.zeros(log.shape)
    for user in range(log.shape[0]):
        latest: dict[int, tuple[int, float]] = {}
        for place in range(len(log.user)):
            if log.user[place] == user and log.weight[place] > 0:
                latest[log.item[place]] = (int(log.time[place]), log.weight[place])
        ordered = sorted(latest, key=lambda item: (-latest[item][0], item))
        for position, item in enumerate(ordered[:last]):
            time, weight = latest[item]
            age = (latest[ordered[0]][0] - time) / 86_400e6
            result[user, item] = weight * decay**position * (0.5 ** (age / half_life) if half_life else 1.0)
    return result


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("last", "half_life", "decay"), [(None, None, 1.0), (3, None, 0.7), (None, 2.0, 1.0), (5, 9.0, 0.9)]
)
def test_equals_the_slow_version(random_log, seed, last, half_life, decay):
    log = random_log(seed)
    fast = recent_items(log, last=last, half_life_days=half_life, position_decay=decay)
    np.testing.assert_allclose(fast.toarray(), slow_recent_items(log, last, half_life, decay), rtol=1e-6)
    assert fast.dtype == np.float32
    assert fast.has_sorted_indices


def test_a_user_who_pauses_for_years_keeps_a_history(read_log):
    log = read_log([("a", "x", 0.0, 1.0), ("a", "y", 1.0, 1.0)], as_of=20_000.0)
    history = recent_items(log, half_life_days=1.0).toarray()
    np.testing.assert_allclose(history, [[0.5, 1.0]])
    assert microseconds(log.as_of) - log.time[-1] > timedelta(days=19_000) / timedelta(microseconds=1)


def test_a_log_without_labels_gives_empty_histories(read_log):
    assert recent_items(read_log([("a", "x", 0.0, 0.0)])).nnz == 0
