from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.order import Groups, groups_of, place_in_groups, top_rows

NOTHING = float("-inf")
SCORED = st.lists(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=12), max_size=6)


@settings(derandomize=True, max_examples=80, deadline=None)
@given(st.lists(st.lists(st.sampled_from([NOTHING, -1.0, 0.0, 2.0]), min_size=1, max_size=12)), st.integers(1, 5))
def test_top_rows_equals_sorting_each_group(scored: list[list[float]], k: int) -> None:
    groups = Groups(np.array([len(group) for group in scored], np.int64))
    scores = np.array([score for group in scored for score in group])
    expected, start = [], 0
    for group in scored:
        listed = [place for place, score in enumerate(group) if score > NOTHING]
        best = sorted(listed, key=lambda place: (-group[place], place))[:k]
        expected.append([start + place for place in best] + [-1] * (k - len(best)))
        start += len(group)
    assert top_rows(scores, groups, k).tolist() == expected


@settings(derandomize=True, max_examples=60, deadline=None)
@given(SCORED)
def test_place_in_groups_equals_sorting_each_group(scored: list[list[float]]) -> None:
    groups = Groups(np.array([len(group) for group in scored], np.int64))
    expected = [sorted(range(len(g)), key=lambda i, g=g: (g[i], i)).index(j) for g in scored for j in range(len(g))]
    flat = np.array([score for group in scored for score in group])
    assert place_in_groups(groups, flat).tolist() == expected


def test_groups_are_runs_of_equal_keys() -> None:
    groups = groups_of(np.array([1, 1, 1, 2, 3, 3]), np.array([5, 5, 6, 6, 6, 6]))
    assert groups.sizes.tolist() == [2, 1, 1, 2]
    assert groups.starts.tolist() == [0, 2, 3, 4]
    assert groups.place().tolist() == [0, 1, 0, 0, 0, 1]
    assert groups_of(np.array([], np.int64)).sizes.tolist() == []
