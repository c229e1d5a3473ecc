"""Many more columns than wanted ones: the bound by groups of columns is at work. Small cases: test_source.py."""

from __future__ import annotations

import numpy as np
import pytest

from candidate_gen.selection import best


@pytest.mark.parametrize("kind", ["measured", "ties", "rising", "few"])
@pytest.mark.parametrize(("width", "n"), [(1000, 3), (997, 20), (64, 64), (40, 100)])
def test_equals_a_full_sort(kind, width, n):
    random = np.random.default_rng(width + n)
    scores = {
        "measured": random.normal(size=(7, width)),
        "ties": random.integers(0, 3, (7, width)),
        "rising": np.broadcast_to(np.arange(width), (7, width)),
        "few": np.where(random.random((7, width)) < 0.01, 1.0, np.nan),
    }[kind].astype(np.float32)
    excluded = random.integers(0, 7, 50), random.integers(0, width, 50)
    found = best(scores, n, floor=0.0, excluded=excluded)
    left = scores.copy()
    left[excluded] = np.nan
    expected = []
    for row, values in enumerate(left):
        order = [column for column in np.argsort(-values, kind="stable") if values[column] > 0][:n]
        expected += [(row, column, rank) for rank, column in enumerate(order, start=1)]
    assert list(zip(*(part.tolist() for part in found), strict=True)) == expected


def test_no_users_and_no_items_have_no_best():
    for shape in ((0, 5), (5, 0)):
        assert len(best(np.empty(shape, np.float32), 3).row) == 0
