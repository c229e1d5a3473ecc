"""The loops over a block of rows, in machine code: compiled when this module is imported, which takes seconds.

Nothing is cached on disk, where numba would read it back by pickle. Every loop over rows is one of vector instructions.
"""

from __future__ import annotations

from math import exp
from typing import Final

import numpy as np
from numba import njit, types

from ranking.trees.plan import PLACES, TOGETHER, Categories, Numbers, Tests

BLOCK: Final = 256  # rows at a time: their codes stay in the cache, and a test's loop is eight instructions long
FEW: Final = 32  # rows of a run that make it worth to be filled at once
_SMALL: Final = np.float32(1e-35)  # LightGBM reads what is not above it as zero

_int32, _int64, _uint8, _uint32 = types.int32[::1], types.int64[::1], types.uint8[::1], types.uint32[::1]
_float32, _float64, _matrix, _bytes = types.float32[::1], types.float64[::1], types.float32[:, ::1], types.uint8[:, ::1]
_NUMBERS: Final = types.NamedTuple([_int32, _int32, _float32, _int32, _int32, _uint8, types.boolean[::1]], Numbers)
_CATEGORIES: Final = types.NamedTuple([_int32, _int32, _int32, _int64, _uint8], Categories)
_TESTS: Final = types.NamedTuple([_int64, _uint32, _uint8, _uint32, _uint32, _uint32, _float64, _int64], Tests)


@njit(types.void(_matrix, types.int64, types.int64, _NUMBERS, _float32, _int32, _bytes), nogil=True)
def code_numbers(columns, begin, rows, numbers, values, places, codes):
    """Write the code rows of the columns that are tested by thresholds; `values` and `places` are scratch."""
    for feature in range(len(numbers.column)):
        column = numbers.column[feature]
        for row in range(rows):
            value = columns[column, begin + row]
            values[row] = np.float32(0) if abs(value) <= _SMALL else value
        for row in range(BLOCK):
            places[row] = 0
        for number in range(numbers.start[feature], numbers.start[feature + 1], TOGETHER):
            one, two = numbers.thresholds[number], numbers.thresholds[number + 1]
            three, four = numbers.thresholds[number + 2], numbers.thresholds[number + 3]
            for row in range(BLOCK):
                value = values[row]
                below = np.int32(one < value) + np.int32(two < value)
                places[row] += below + np.int32(three < value) + np.int32(four < value)
        few = numbers.start[feature + 1] - numbers.start[feature] <= PLACES
        for code_row in range(numbers.first[feature], numbers.first[feature + 1]):
            shift, default = numbers.shift[code_row], np.int32(numbers.default[code_row])
            if few and not numbers.zero_missing[code_row]:
                for row in range(BLOCK):
                    codes[code_row, row] = np.uint8(default if values[row] != values[row] else places[row])
                continue
            for row in range(BLOCK):
                value = values[row]
                code = min(max(places[row] - shift, np.int32(0)), np.int32(PLACES))
                missing = value != value or (numbers.zero_missing[code_row] and value == 0)
                codes[code_row, row] = np.uint8(default if missing else code)


@njit(types.void(_matrix, types.int64, types.int64, _CATEGORIES, types.int64, _int32, _int32, _bytes), nogil=True)
def code_categories(columns, begin, rows, categories, first_row, places, ends, codes):
    """Write the code rows of sets of categories, the first of them at `first_row`; `places` and `ends` are scratch.

    A user's categories are the same for many rows on end: a set is looked up once for each such run.
    """
    for feature in range(len(categories.column)):
        column, size = categories.column[feature], categories.size[feature]
        runs = 0
        for row in range(rows):
            value = columns[column, begin + row]
            places[row] = np.int32(value) + 1 if value > -1 and value < size else 0
            runs += 1 if row == 0 or places[row] != places[row - 1] else 0
            ends[runs - 1] = row + 1
        for number in range(categories.first[feature], categories.first[feature + 1]):
            start = categories.start[number]
            if FEW * runs > rows:
                for row in range(rows):
                    codes[first_row + number, row] = categories.codes[start + places[row]]
                continue
            # From the last run on, each over all rows up to its end: a loop of one length has no remainder.
            for run in range(runs - 1, -1, -1):
                code, final = categories.codes[start + places[ends[run] - 1]], np.uint8(ends[run] - 1)
                for row in range(BLOCK):
                    before = codes[first_row + number, row]
                    codes[first_row + number, row] = code if np.uint8(row) <= final else before


@njit(types.void(_bytes, _TESTS, _bytes, _float64), nogil=True)
def add_trees(codes, tests, picks, sums):
    """Add each row's leaves in the order of the trees; the first rows of `picks` are the leaves themselves."""
    for tree in range(len(tests.first) - 1):
        out = np.uintp(0)  # of a tree without tests: its only leaf
        for test in range(tests.first[tree], tests.first[tree + 1]):
            left, right, out = np.uintp(tests.left[test]), np.uintp(tests.right[test]), np.uintp(tests.out[test])
            coded, code = np.uintp(tests.row[test]), tests.code[test]
            for row in range(BLOCK):
                on_left, on_right = picks[left, row], picks[right, row]
                picks[out, row] = on_left if codes[coded, row] <= code else on_right
        # Unsigned, or numba would ask of each place whether it counts from the end.
        first = np.uintp(tests.first_leaf[tree])
        for row in range(BLOCK):
            place = np.uintp(row)
            sums[place] += tests.leaves[first + np.uintp(picks[out, place])]


@njit(types.void(_float64, types.float64), nogil=True)
def to_shares(scores, slope):
    """Turn sums into probabilities, in place: by the C library's `exp`, as LightGBM does."""
    for row in range(len(scores)):
        scores[row] = 1.0 / (1.0 + exp(-slope * scores[row]))
