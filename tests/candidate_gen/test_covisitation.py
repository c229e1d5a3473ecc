from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from candidate_gen import covisitation
from candidate_gen.covisitation import Covisitation
from candidate_gen.history import recent_items
from candidate_gen.interactions import Interactions, microseconds


def slow_similarity(log: Interactions, source: Covisitation) -> np.ndarray:
    items = log.shape[1]
    counts, mass = np.zeros((items, items)), np.zeros(items)
    half_life = source.half_life_days or np.inf
    for user in range(log.shape[0]):
        places = [place for place in range(len(log.user)) if log.user[place] == user and log.weight[place] > 0]
        for a, first in enumerate(places):
            recency = 0.5 ** ((microseconds(log.as_of) - int(log.time[first])) / 86_400e6 / half_life)
            mass[log.item[first]] += log.weight[first] * recency
            for b in range(a + 1, min(a + source.window + 1, len(places))):
                second = places[b]
                gap = (log.time[second] - log.time[first]) / 86_400e6
                if log.item[first] == log.item[second] or gap > (source.max_gap_days or np.inf):
                    continue
                later = 0.5 ** ((microseconds(log.as_of) - int(log.time[second])) / 86_400e6 / half_life)
                count = log.weight[first] * log.weight[second] * later * source.position_decay ** (b - a - 1)
                counts[log.item[first], log.item[second]] += count
                if not source.directional:
                    counts[log.item[second], log.item[first]] += count
    scale = np.array([value**-source.popularity_exponent if value else 0.0 for value in mass])
    return counts * scale[:, None] * scale


@pytest.mark.parametrize("dense", [0, 10**6])
@pytest.mark.parametrize("directional", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"window": 3, "half_life_days": None, "popularity_exponent": 0.0, "position_decay": 1.0},
        {"window": 50, "half_life_days": 10.0, "popularity_exponent": 0.5, "position_decay": 0.8},
        {"window": 4, "half_life_days": None, "max_gap_days": 2.0},
    ],
)
def test_equals_the_slow_version(random_log, monkeypatch, directional, options, dense):
    monkeypatch.setattr(covisitation, "BLOCK_PAIRS", 37)
    monkeypatch.setattr(covisitation, "DENSE_CELLS", dense)
    log = random_log(5)
    source = Covisitation(directional, history=4, history_decay=0.7, **options).fit(log)
    similarity = slow_similarity(log, source)
    np.testing.assert_allclose(source.similarity_.toarray(), similarity, rtol=1e-5, atol=1e-7)
    history = recent_items(log, last=4, position_decay=0.7).toarray()
    expected = history @ similarity
    expected[history.sum(axis=1) == 0] = np.nan
    expected[:, log.positives.sum(axis=0) == 0] = np.nan
    np.testing.assert_allclose(source.score_batch(np.arange(log.shape[0])), expected, rtol=1e-5, atol=1e-7)


def test_directional_knows_what_comes_next(read_log):
    log = read_log(
        [(user, item, day, 1.0) for user in "abc" for day, item in enumerate("xyz")] + [("d", "y", 9.0, 1.0)]
    )
    user = pa.array(["d"])
    ahead = Covisitation(directional=True).fit(log).recommend(user, 5)["item_id"].to_pylist()
    around = Covisitation(directional=False).fit(log).recommend(user, 5)["item_id"].to_pylist()
    assert ahead == ["z"]
    assert around == ["z", "x"]  # seen later, so it counts for more


def test_top_k_keeps_the_smaller_item_among_equals(read_log):
    log = read_log([(user, item, 0.0, 1.0) for user in "ab" for item in ("w", "x", "y", "z")])
    source = Covisitation(window=10, position_decay=1.0, top_k=2).fit(log)
    assert source.similarity_.indices.reshape(4, 2).tolist() == [[1, 2], [0, 2], [0, 1], [0, 1]]


def test_users_without_history_are_not_served(random_log):
    log = random_log(5)
    source = Covisitation().fit(log)
    silent = log.encode_users(pa.array(["u0"]))[0]
    assert np.isnan(source.score_batch(np.array([-1, silent]))).all()
    assert source.recommend(pa.array(["u0", "nobody"]), 3).num_rows == 0
