from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.order import Groups
from ranking.scoring import batches


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 15))
def test_batches_hold_whole_groups_within_the_bound(sizes: list[int], most: int) -> None:
    ranges = list(batches(Groups(np.array(sizes, np.int64)), most))
    bounds = [0, *np.cumsum(sizes).tolist()]
    assert [start for start, _ in ranges] + [sum(sizes)] == [0, *(stop for _, stop in ranges)]
    for start, stop in ranges:
        assert start in bounds
        assert stop in bounds
        assert stop - start <= most or bounds.index(stop) == bounds.index(start) + 1
