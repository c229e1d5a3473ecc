"""The as-of match against the plain rule, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.stores.asof import AsofIndex, Moments, Versions, stable_argsort
from feature_repo.stores.times import NEVER

TICKS = st.integers(-3, 6) | st.sampled_from([-(2**50), 2**50, 2**50 + 1])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[tuple[int, int, int | None]], list[tuple[int, int]]]:
    """Rows (code, event, created or None) and questions (code, time), crowded so that ties and gaps are common."""
    rows = draw(st.lists(st.tuples(st.integers(0, 3), TICKS, st.none() | TICKS), max_size=25))
    asked = draw(st.lists(st.tuples(st.integers(-1, 4), TICKS | st.just(NEVER)), max_size=25))
    return rows, asked


def brute_force(
    rows: list[tuple[int, int, int | None]], code: int, time: int, ttl: int | None, strict: bool, with_created: bool
) -> int:
    best, best_key = -1, None
    for place, (row_code, event, created) in enumerate(rows):
        if time == NEVER or row_code != code or event > time or (ttl is not None and time - event > ttl):
            continue
        if strict and with_created and (created is None or created > time):
            continue
        key = (event, NEVER if created is None or not with_created else created, place)
        if best_key is None or key > best_key:
            best, best_key = place, key
    return best


@settings(max_examples=400, derandomize=True, deadline=None)
@given(worlds(), st.none() | st.integers(1, 8), st.booleans(), st.booleans())
def test_match_is_the_plain_rule(world, ttl: int | None, strict: bool, with_created: bool) -> None:
    rows, asked = world
    codes = np.array([row[0] for row in rows], dtype=np.int64)
    event = np.array([row[1] for row in rows], dtype=np.int64)
    created = np.array([NEVER if row[2] is None else row[2] for row in rows], dtype=np.int64)
    index = AsofIndex(Versions(codes, event, created if with_created else None), strict=strict)
    moments = Moments.of(np.array([time for _, time in asked], dtype=np.int64))
    found = index.match(np.array([code for code, _ in asked], dtype=np.int64), moments, ttl)
    assert found.tolist() == [brute_force(rows, code, time, ttl, strict, with_created) for code, time in asked]


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 2), max_size=60))
def test_argsort_is_stable_for_any_width(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)
    assert stable_argsort(array).tolist() == np.argsort(array, kind="stable").tolist()


@pytest.mark.parametrize(("span", "width"), [(10, "int8"), (2**30, "int32"), (2**40, "int64"), (2**62, "int64")])
def test_argsort_of_many(span: int, width: str) -> None:
    values = np.random.default_rng(0).integers(-span, span, 200_000).astype(width)
    assert (stable_argsort(values) == np.argsort(values, kind="stable")).all()


def test_moments_number_the_times() -> None:
    moments = Moments.of(np.array([5, 3, 5, NEVER], dtype=np.int64))
    assert moments.distinct.tolist() == [NEVER, 3, 5]
    assert moments.inverse.tolist() == [2, 1, 2, 0]
