from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from feature_repo.config import DriftConfig
from ranking.drift import Reference, Shift, reference, shifts

NAMES = ["few", "many", "nulls"]


def world(seed: int, rows: int = 3000, move: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    few = rng.integers(0, 4, rows) + (rng.random(rows) < move)
    many = rng.normal(size=rows) + move
    nulls = np.where(rng.random(rows) < 0.3 + move / 4, np.nan, rng.exponential(size=rows))
    return np.column_stack([few, many, nulls]).astype(np.float32)


def psi_of(then: np.ndarray, now: np.ndarray, ends: list[float]) -> float:
    """The textbook: shares of bins (..., end], nulls apart, a floor under empty bins."""
    total = 0.0
    edges = [-np.inf, *ends, np.inf]
    for low, high in [(None, None), *pairwise(edges)]:
        shares = [
            max(1e-4, float(np.mean(np.isnan(side) if low is None else (side > low) & (side <= high))))
            for side in (then, now)
        ]
        total += (shares[1] - shares[0]) * np.log(shares[1] / shares[0])
    return total


def test_the_training_set_has_not_drifted_from_itself() -> None:
    matrix = world(0)
    for shift in shifts(reference(matrix, NAMES), matrix, NAMES):
        assert (shift.psi, shift.ks) == (0.0, 0.0)
        assert shift.null_then == shift.null_now


def test_psi_and_ks_equal_the_textbook() -> None:
    then, now = world(0), world(1, rows=2000, move=0.4)
    described = reference(then, NAMES)
    found = {shift.name: shift for shift in shifts(described, now, NAMES)}
    for place, name in enumerate(NAMES):
        column = described.columns[name]
        ends = [column.points[end] for end in column.bins]
        assert found[name].psi == pytest.approx(psi_of(then[:, place], now[:, place], ends), abs=2e-3)
        # As in the report, nulls come first; beyond 100 values KS is read at quantiles, so it may miss a hundredth.
        exact = ks_2samp(*(np.nan_to_num(side[:, place], nan=-1e9) for side in (then, now))).statistic
        assert exact - 0.011 <= found[name].ks <= exact + 1e-6
    assert found["many"].exceeds(DriftConfig(psi=0.1))


def test_what_is_new_or_gone_is_drift() -> None:
    then = np.ones((1000, 1), np.float32)
    for now in (np.full((500, 1), 7, np.float32), np.full((500, 1), np.nan, np.float32), then - 5):
        [shift] = shifts(reference(then, ["x"]), now, ["x"])
        assert shift.ks == 1.0
        assert shift.psi > 5
    [shift] = shifts(reference(np.full((9, 1), np.nan, np.float32), ["x"]), then, ["x"])
    assert shift.ks == 1.0


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.just(np.nan), st.floats(-1e6, 1e6, width=32), st.integers(0, 2)), min_size=1, max_size=300)
)
def test_any_column_survives_json_and_is_at_rest(values: list[float]) -> None:
    matrix = np.array(values, np.float32)[:, None]
    described = reference(matrix, ["x"])
    again = Reference.from_json(described.to_json())
    assert again == described
    [shift] = shifts(again, matrix, ["x"])
    assert (shift.psi, shift.ks) == (0.0, 0.0)


def test_a_threshold_is_exceeded_by_either_measure() -> None:
    limits = DriftConfig(psi=0.2, ks=0.3)
    assert not Shift("x", 0.2, 0.3, 0, 0).exceeds(limits)
    assert Shift("x", 0.21, 0.0, 0, 0).exceeds(limits)
    assert Shift("x", 0.0, 0.31, 0, 0).exceeds(limits)


def test_a_large_training_set_is_sampled_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranking.drift.ROWS", 500)
    matrix = world(0)
    assert reference(matrix, NAMES) == reference(matrix, NAMES)
    assert reference(matrix, NAMES).rows == 500
