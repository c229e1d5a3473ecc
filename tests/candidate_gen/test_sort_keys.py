from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from candidate_gen.sort_keys import ascending_bits, bits_of, index_of, sorted_rows, used

VALUES = st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(VALUES)
def test_bits_order_as_the_numbers_do(values):
    numbers = np.array(values, np.float32)
    bits = ascending_bits(numbers)
    expected = sorted(range(len(values)), key=lambda place: (math.isnan(numbers[place]), numbers[place], place))
    known = [place for place in expected if not math.isnan(numbers[place])]
    found = np.argsort(bits, kind="stable").tolist()
    assert found[: len(known)] == known
    for one, other in pairwise(known):
        assert (bits[one] == bits[other]) == (numbers[one] == numbers[other])


def test_rows_are_sorted_by_bits_then_index_and_gaps_come_last():
    bits = np.array([5, 5, 1, 7], np.uint32)
    table = sorted_rows(bits, np.array([9, 2, 4, 0], np.uint32), np.array([0, 1, 2, 4]), (2, 3))
    assert used(table).tolist() == [[True, True, True], [True, False, False]]
    assert bits_of(table[0]).tolist() == [1, 5, 5]
    assert index_of(table[0]).tolist() == [4, 2, 9]
    assert index_of(table[1, 0]).tolist() == 0
