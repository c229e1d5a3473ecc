from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from feature_repo.periods import Window
from ranking.beyond_accuracy import Catalogue
from ranking.hits import Hits, hits_of
from ranking.judging import Split, line, of_items, parts, score_lists, with_captured
from ranking.segments import ItemClass, Segment
from ranking.truth import Truth

# User 1 wants items 1 and 2, user 2 wants 3, user 3 wants 1 and 3.
TRUTH = Truth(
    window=Window(*([np.datetime64("2024-01-01").astype(object)] * 2)),
    users=pa.array([1, 2, 3]),
    user=np.array([0, 0, 1, 2, 2]),
    items=pa.array([1, 2, 3, 1, 3]),
    catalogue=4,
)
COUNTS = np.array([50, 3, 7, 0])
CATALOGUE = Catalogue(pa.array([1, 2, 3, 4]), COUNTS, COUNTS, csr_matrix((4, 1), dtype=np.int32), 60)
HOT, COLD = ItemClass("hot", COUNTS > 10), ItemClass("cold", (COUNTS <= 5))
SPLIT = Split(CATALOGUE, [Segment("gender", "f", np.array([True, False, True]))], [HOT, COLD])


def lists_of(*rows: list[int]) -> pa.Table:
    pairs = [(user, item, rank) for user, items in enumerate(rows, 1) for rank, item in enumerate(items, 1)]
    users, items, ranks = zip(*pairs, strict=True)
    return pa.table({"user_id": users, "item_id": items, "rank": pa.array(ranks, pa.int32())})


def hits(lists: pa.Table) -> Hits:
    return hits_of(lists, TRUTH, CATALOGUE, 2)


OURS, THEIRS = lists_of([1, 2], [3, 4], [4, 1]), lists_of([4, 1], [1, 2], [1, 3])


def test_on_a_class_of_items_only_its_items_are_relevant() -> None:
    hot = of_items(TRUTH, CATALOGUE, HOT)
    assert (hot.users.to_pylist(), hot.relevant.tolist(), hot.items.to_pylist()) == ([1, 3], [1, 1], [1, 1])
    assert score_lists(OURS, hot, 2)["recall@2"].tolist() == [1, 1]
    assert score_lists(OURS, of_items(TRUTH, CATALOGUE, COLD), 2)["mrr@2"].tolist() == [0.5]


def test_parts_hold_the_users_of_a_segment_and_their_difference() -> None:
    women, hot, cold = parts(TRUTH, SPLIT, hits(OURS), hits(THEIRS), against="als", k=2, seed=0)
    ours, theirs = score_lists(OURS, TRUTH, 2)["ndcg@2"], score_lists(THEIRS, TRUTH, 2)["ndcg@2"]
    assert (women.by, women.name, women.users, women.difference.against) == ("gender", "f", 2, "als")
    assert women.two_stage["ndcg@2"] == pytest.approx(ours[[0, 2]].mean())
    assert women.difference.mean == pytest.approx((ours - theirs)[[0, 2]].mean())
    assert [(part.by, part.name, part.users) for part in (hot, cold)] == [("items", "hot", 2), ("items", "cold", 1)]


def test_the_ceiling_is_what_stage_one_proposes() -> None:
    union = lists_of([1, 4, 2], [4, 3], [1, 2])
    lines = [
        line(name, hits(lists), score_lists(lists, TRUTH, 2), TRUTH, SPLIT, 2)
        for name, lists in (("union", union), ("two-stage", OURS))
    ]
    assert lines[0].recalls["all"] == pytest.approx((1 + 1 + 0.5) / 3)
    captured = with_captured(lines, 2)
    assert captured[1].metrics["captured@2"] == pytest.approx(((1 + 1 + 0.5) / 3) / ((1 + 1 + 0.5) / 3))
    assert captured[0].metrics["captured@2"] == pytest.approx(((0.5 + 1 + 0.5) / 3) / ((1 + 1 + 0.5) / 3))
    assert captured[1].metrics["diversity@2"] is None
