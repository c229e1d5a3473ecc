from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from candidate_gen.standing import Groups, percentile, zscore

SCORE = st.sampled_from([math.nan, -1.5, 0.0, 0.1, 0.1, 2.0, 1e6])
GROUPS = st.lists(st.lists(SCORE, max_size=7), min_size=1, max_size=5)


def flatten(groups: list[list[float]]) -> tuple[np.ndarray, Groups]:
    row = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return np.array([value for group in groups for value in group], np.float32), Groups(row, len(groups))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(GROUPS)
def test_standings_equal_the_slow_version(groups):
    scores, rows = flatten(groups)
    share = percentile(scores, rows)
    standard = zscore(scores, rows)
    for number in range(len(groups)):
        own = scores[rows.row == number].astype(float)
        known = own[~np.isnan(own)]
        below = [np.mean(known < v) + np.mean(known == v) / 2 if not math.isnan(v) else math.nan for v in own]
        np.testing.assert_allclose(share[rows.row == number], below, rtol=1e-6)
        spread = known.std() if len(known) else 0.0
        flat = len(set(known.tolist())) < 2
        expected = np.where(np.isnan(own), np.nan, 0.0 if flat else (own - known.mean()) / (spread or 1.0))
        np.testing.assert_allclose(standard[rows.row == number], expected, rtol=1e-4, atol=1e-6)


def test_no_rows_have_no_standing():
    none = Groups(np.empty(0, np.int64), 3)
    assert len(percentile(np.empty(0, np.float32), none)) == 0
    assert len(zscore(np.empty(0, np.float32), none)) == 0
