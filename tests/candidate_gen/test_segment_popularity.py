from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from candidate_gen.interactions import Interactions, microseconds
from candidate_gen.segment_popularity import SegmentPopularity
from feature_repo.errors import ConfigError

USERS = {
    "user_id": ["u5", "u6", "u7", "u8", "u9", "u10", "u11", "u12", "u13", "u14", "u15", "u16"],
    "zip": [f"z{number}" for number in range(12)],
    "plan": ["free", "paid", None, "free", "paid", "free", None, "paid", "free", "free", "paid", "gold"],
    "age": [20.0, 30.0, 40.0, None, 60.0, 21.0, 31.0, 41.0, 51.0, 61.0, 22.0, 32.0],
}


def slow_scores(log: Interactions, segments: list, smoothing: float, half_life: float | None) -> np.ndarray:
    ages = (microseconds(log.as_of) - log.time) / 86_400e6
    weights = log.weight * (0.5 ** (ages / half_life) if half_life else 1.0)
    everyone = np.array([weights[log.item == item].sum() for item in range(log.shape[1])])
    shares = everyone / everyone.sum()
    rows = []
    for segment in segments:
        inside = np.array([segment is not None and segments[user] == segment for user in log.user])
        own = np.array([weights[inside & (log.item == item)].sum() for item in range(log.shape[1])])
        rows.append((own + smoothing * shares) / (own.sum() + smoothing) if own.sum() else shares)
    return np.array(rows)


@pytest.mark.parametrize("smoothing", [0.0, 5.0])
@pytest.mark.parametrize("half_life", [None, 10.0])
def test_equals_the_slow_version(random_log, smoothing, half_life):
    log = random_log(3, tables={"users": USERS})
    source = SegmentPopularity("plan", half_life, smoothing).fit(log)
    scores = source.score_batch(np.arange(log.shape[0]))
    np.testing.assert_allclose(scores, slow_scores(log, log.users["plan"].to_pylist(), smoothing, half_life), rtol=1e-5)
    assert scores.dtype == np.float32


def test_without_a_name_takes_the_first_category_of_few_values(random_log):
    log = random_log(3, tables={"users": USERS})
    assert SegmentPopularity(max_segments=5).fit(log).attribute_ == "plan"
    assert SegmentPopularity(max_segments=50).fit(log).attribute_ == "zip"
    numbers = {name: USERS[name] for name in ("user_id", "age")}
    source = SegmentPopularity(bins=3, smoothing=1.0).fit(random_log(3, tables={"users": numbers}))
    assert source.attribute_ == "age"
    assert source.segments_ == ["#0", "#1", "#2"]


def test_users_without_a_segment_get_what_is_popular(random_log):
    log = random_log(3, tables={"users": USERS})
    scores = SegmentPopularity("plan").fit(log).score_batch(np.array([-1, log.encode_users(pa.array(["u7"]))[0], -1]))
    overall = np.bincount(log.item, log.weight, minlength=log.shape[1]) / log.weight.sum()
    np.testing.assert_allclose(scores, np.tile(overall, (3, 1)), rtol=1e-6)


def test_a_user_known_by_attributes_only_gets_the_segments_items(read_log):
    users = {"user_id": ["a", "b", "new"], "plan": ["paid", "free", "free"]}
    log = read_log([("a", "x", 1.0, 1.0), ("a", "y", 1.0, 1.0), ("b", "z", 1.0, 1.0)], users=users)
    top = SegmentPopularity(smoothing=0.5).fit(log).recommend(pa.array(["new"]), 1)
    assert top["item_id"].to_pylist() == ["z"]


def test_a_data_set_without_user_attributes_falls_back(random_log):
    log = random_log(4)
    source = SegmentPopularity().fit(log)
    assert source.attribute_ is None
    top = source.recommend(pa.array(["nobody"]), 3)
    overall = np.bincount(log.item, log.weight)
    assert top["item_id"].to_pylist() == [log.item_ids[i].as_py() for i in np.argsort(-overall, kind="stable")[:3]]


def test_a_log_without_labels_proposes_nothing(read_log):
    source = SegmentPopularity().fit(read_log([("a", "x", 1.0, 0.0)]))
    assert source.recommend(pa.array(["a", "b"]), 3).num_rows == 0


def test_an_unknown_attribute_is_an_error_with_a_suggestion(random_log):
    with pytest.raises(ConfigError, match='Did you mean "plan"'):
        SegmentPopularity("plann").fit(random_log(3, tables={"users": USERS}))
