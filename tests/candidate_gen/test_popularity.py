from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from candidate_gen.popularity import Popularity, RecentPopularity


@pytest.mark.parametrize("half_life", [None, 5.0])
def test_equals_the_slow_version_for_known_and_unknown_users(random_log, half_life):
    log = random_log(1)
    source = (Popularity() if half_life is None else RecentPopularity(half_life)).fit(log)
    expected = np.zeros(log.shape[1])
    for item, time, weight in zip(log.item, log.time, log.weight, strict=True):
        age = (log.time.max() - time) / 86400e6
        expected[item] += weight * (1.0 if half_life is None else 0.5 ** (age / half_life))
    np.testing.assert_allclose(source.score_batch(np.array([0, -1], np.int32)), [expected] * 2, rtol=1e-5)


def test_equally_popular_items_come_in_order_of_their_ids(read_log):
    log = read_log([("a", "y", 1.0, 1.0), ("b", "x", 1.0, 1.0), ("c", "z", 2.0, 0.0)])
    assert Popularity().fit(log).recommend(pa.array(["new"]), 5)["item_id"].to_pylist() == ["x", "y"]


def test_a_long_silence_before_the_cut_takes_nothing_away(read_log):
    log = read_log([("a", "x", 0.0, 1.0), ("b", "x", 1.0, 1.0), ("b", "y", 1.0, 1.0)], as_of=100_000.0)
    assert RecentPopularity(1.0).fit(log).recommend(pa.array(["new"]), 5)["item_id"].to_pylist() == ["x", "y"]
