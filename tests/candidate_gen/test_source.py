from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from candidate_gen.interactions import Interactions
from candidate_gen.popularity import RecentPopularity
from candidate_gen.selection import best
from candidate_gen.source import CandidateSource, SourceSkipped
from feature_repo.errors import ConfigError

FEW_VALUES = st.sampled_from([np.float32(value) for value in (-2, -1, -0.0, 0, 1, 1, 3, math.nan)])


class Table(CandidateSource):
    """Scores from a hash of the codes; item 1 is not scorable, unknown users are not served."""

    def _fit(self, interactions: Interactions) -> None:
        users, items = interactions.shape
        self.table_ = (np.arange(users)[:, None] * 7 + np.arange(items) * 3).astype(np.float32) % 5
        self.table_[:, 1] = np.nan

    def score_batch(self, users: np.ndarray) -> np.ndarray:
        return np.where(users[:, None] >= 0, self.table_[users], np.float32(np.nan))


def slow_best(scores: np.ndarray, n: int, floor: float, excluded: set[tuple[int, int]]) -> list[tuple[int, int, int]]:
    result = []
    for row, values in enumerate(scores):
        fit = [item for item, v in enumerate(values) if v > floor and (row, item) not in excluded]
        fit.sort(key=lambda item: (-values[item], item))
        result += [(row, item, rank) for rank, item in enumerate(fit[:n], start=1)]
    return result


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    scores=arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=FEW_VALUES),
    n=st.integers(1, 10),
    floor=st.sampled_from([-math.inf, 0.0, 1.0]),
    data=st.data(),
)
def test_best_equals_a_full_sort_with_ties_nulls_and_exclusions(scores, n, floor, data):
    cells = st.tuples(st.integers(0, scores.shape[0] - 1), st.integers(0, scores.shape[1] - 1))
    excluded = data.draw(st.sets(cells, max_size=12))
    rows, items = (np.array([cell[axis] for cell in excluded], int) for axis in (0, 1))
    top = best(scores, n, floor=floor, excluded=(rows, items))
    assert list(zip(*(part.tolist() for part in top), strict=True)) == slow_best(scores, n, floor, excluded)


def test_best_leaves_its_input_alone_and_takes_read_only_scores():
    scores = np.broadcast_to(np.array([1, 2, 2, np.nan], np.float32), (3, 4))
    assert best(scores, 2, excluded=(np.array([1]), np.array([1]))).item.tolist() == [1, 2, 2, 0, 1, 2]


def test_proposals_and_scores_agree_and_nobody_gets_what_they_consumed(random_log):
    log = random_log(2, users=700, items=9, events=3000)  # more users than one batch
    source = Table().fit(log)
    top = source.recommend(log.user_ids, 4)
    user, item = (top[name].combine_chunks() for name in ("user_id", "item_id"))
    assert source.score(user, item).equals(top["score"].combine_chunks())
    seen = {(u, i) for u, i, c in zip(log.user.tolist(), log.item.tolist(), log.consuming, strict=True) if c}
    pairs = set(zip(log.encode_users(user).tolist(), log.encode_items(item).tolist(), strict=True))
    assert not pairs & seen
    excluded = {(row, column) for row, column in seen}
    expected = slow_best(source.table_, 4, -math.inf, excluded)
    ranks = top["rank"].to_pylist()
    assert [(row, column, rank) for row, column, rank in expected] == list(
        zip(log.encode_users(user).tolist(), log.encode_items(item).tolist(), ranks, strict=True)
    )


def test_repeats_may_be_asked_for(read_log):
    log = read_log([("a", "x", 1.0, 1.0), ("a", "y", 1.0, 1.0), ("b", "x", 2.0, 1.0)])
    source = Table().fit(log)
    assert source.recommend(pa.array(["a"]), 5).num_rows == 0
    assert source.recommend(pa.array(["a"]), 5, exclude_seen=False)["item_id"].to_pylist() == ["x"]


def test_pairs_that_cannot_be_scored_are_null(random_log):
    log = random_log(2)
    source = Table().fit(log)
    known = log.user_ids[0]
    scores = source.score(
        pa.array([known.as_py(), "nobody", known.as_py()]), pa.array(["i?", "i5", log.item_ids[1].as_py()])
    )
    assert scores.to_pylist() == [None, None, None]


@pytest.mark.parametrize("order", [1, -1])
def test_scores_follow_the_order_of_the_pairs(random_log, order):
    log = random_log(2)
    source = Table().fit(log)
    users, items = (
        pa.array(np.repeat(log.user_ids.to_pylist(), 2)[::order]),
        pa.array(log.item_ids.to_pylist()[:1] * 2 * len(log.user_ids)),
    )
    assert source.score(users, items).to_pylist() == np.repeat(source.table_[:, 0], 2)[::order].tolist()


@pytest.mark.parametrize("events", ["passive", "all"])
def test_events_of_a_kind_that_the_log_lacks_skip_the_source(read_log, events):
    with pytest.raises(SourceSkipped, match="events of types that are no targets"):
        RecentPopularity(events=events).fit(read_log([("a", "x", 1.0, 1.0)]))


def test_a_source_learns_from_the_events_that_it_is_told(read_log):
    log = read_log([("a", "x", 1.0, 1.0), ("b", "y", 1.0, 0.0), ("b", "y", 1.0, 0.0)])
    learned = {kind: RecentPopularity(events=kind).fit(log).popularity_ for kind in ("targets", "passive", "all")}
    np.testing.assert_allclose(learned["targets"], [1.0, 0.0])
    np.testing.assert_allclose(learned["passive"], [0.0, 2.0])
    np.testing.assert_allclose(learned["all"], [1.0, 0.4], rtol=1e-6)
    with pytest.raises(ConfigError, match="targets or all or passive"):
        RecentPopularity(events="everything").fit(log)
