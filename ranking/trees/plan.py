"""Trees laid out for the kernels: every test is a comparison of two bytes.

A column's value becomes its place among the column's thresholds, found once per row; a test then compares places. A row
of places ("code row") holds 255 of them, so a column of more thresholds has several, and one for each way in which its
tests treat what is missing. A set of categories is a code row of its own: 0 in the set, 1 not.

The tests of a tree are ordered from the leaves up. Each picks, for every row of a block, the leaf that its left or
right child picked; the last one's pick is the leaf.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from ranking.trees.text import Tree

MAX_LEAVES: Final = 256
TOGETHER: Final = 4  # thresholds that a value is compared with at a time; infinite ones, above all values, fill up
PLACES: Final = 255  # of a code row: 0 to 254 thresholds below the value, 255 all
_ZERO_MISSING: Final = 1
_NOTHING_MISSING: Final = 0


class Numbers(NamedTuple):
    """Columns that are tested by thresholds, and their code rows.

    Of feature i: `column[i]` of the matrix, thresholds `start[i]` to `start[i + 1]` (float32, ascending, infinite ones
    behind so that they are a multiple of TOGETHER), code rows
    `first[i]` to `first[i + 1]`. Of a code row: the place it starts at, its code of what is missing, and whether zero
    is missing.
    """

    column: np.ndarray
    start: np.ndarray
    thresholds: np.ndarray
    first: np.ndarray
    shift: np.ndarray
    default: np.ndarray
    zero_missing: np.ndarray


class Categories(NamedTuple):
    """Columns that are tested by sets of categories, one code row per set, after those of the numbers.

    Of feature i: `column[i]` of the matrix, sets `first[i]` to `first[i + 1]`, and the `size[i]` categories that any
    of them may hold. Of a set: where its codes start in `codes`, first that of no such category, then of 0, 1, ...
    """

    column: np.ndarray
    first: np.ndarray
    size: np.ndarray
    start: np.ndarray
    codes: np.ndarray


class Tests(NamedTuple):
    """Tests of tree t: `first[t]` to `first[t + 1]`; left where `codes[row] <= code`.

    `left`, `right` and `out` are rows of picks: the first 256 are the leaves themselves.
    """

    first: np.ndarray
    row: np.ndarray
    code: np.ndarray
    left: np.ndarray
    right: np.ndarray
    out: np.ndarray
    leaves: np.ndarray
    first_leaf: np.ndarray


class Plan(NamedTuple):
    numbers: Numbers
    categories: Categories
    tests: Tests
    rows: int
    picks: int


def lay_out(trees: Sequence[Tree]) -> Plan:
    """Lay out trees of at most 256 leaves."""
    numbers = _NumberRows.of(trees)
    sets = _Sets.of(trees, numbers.rows)
    order, picks = _Order(), MAX_LEAVES
    parts: list[tuple[np.ndarray, ...]] = []
    for tree in trees:
        picks = max(picks, order.add(tree))
        parts.append(_codes(tree, numbers, sets))
    tests = order.tests(trees, parts)
    return Plan(numbers.arrays(), sets.arrays(), tests, numbers.rows + len(sets.found), picks)


def as_float32(thresholds: np.ndarray) -> np.ndarray:
    """Return the greatest float32 up to each threshold: every float32 is on the same side of both."""
    with np.errstate(over="ignore"):
        rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _codes(tree: Tree, numbers: _NumberRows, sets: _Sets) -> tuple[np.ndarray, np.ndarray]:
    """Return the code row and the code of each test."""
    rows, codes = np.zeros(len(tree.columns), np.uint32), np.zeros(len(tree.columns), np.uint8)
    rows[tree.categorical] = sets.rows(tree)
    plain = ~tree.categorical
    rows[plain], codes[plain] = numbers.find(tree, plain)
    return rows, codes


@dataclass
class _NumberRows:
    """Distinct thresholds of every column, and distinct code rows, both ascending.

    A code row's key is (feature, part of 255 places, missing kind, default left) as one number.
    """

    columns: np.ndarray
    start: np.ndarray
    thresholds: np.ndarray
    keys: np.ndarray

    @classmethod
    def of(cls, trees: Sequence[Tree]) -> _NumberRows:
        numeric = [~tree.categorical for tree in trees]
        columns = _joined([tree.columns[own] for tree, own in zip(trees, numeric, strict=True)], np.int64)
        values = _joined([tree.thresholds[own] for tree, own in zip(trees, numeric, strict=True)], np.float64)
        pairs = np.unique(np.rec.fromarrays([columns, as_float32(values)], names="column,value"))
        used, start = np.unique(pairs["column"], return_index=True)
        found = cls(used, np.append(start, len(pairs)), np.ascontiguousarray(pairs["value"]), np.zeros(0, np.int64))
        keys = [found._keyed(tree, own)[0] for tree, own in zip(trees, numeric, strict=True)]
        found.keys = np.unique(_joined(keys, np.int64))
        return found

    @property
    def rows(self) -> int:
        return len(self.keys)

    def find(self, tree: Tree, tests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the code row and the code of these tests."""
        keys, places = self._keyed(tree, tests)
        return np.searchsorted(self.keys, keys), places % PLACES

    def _keyed(self, tree: Tree, tests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features = np.searchsorted(self.columns, tree.columns[tests])
        places = self._places(features, as_float32(tree.thresholds[tests]))
        part = places // PLACES
        kind = tree.missing[tests] * 2 + tree.default_left[tests]
        return (features << 32) + (part << 3) + kind, places

    def _places(self, features: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return how many thresholds of its feature are below each value."""
        places = np.zeros(len(features), np.int64)
        for number, (feature, value) in enumerate(zip(features.tolist(), values, strict=True)):
            places[number] = np.searchsorted(self.thresholds[self.start[feature] : self.start[feature + 1]], value)
        return places

    def arrays(self) -> Numbers:
        feature, part, kind = self.keys >> 32, (self.keys >> 3) & 0x1FFFFFFF, self.keys & 7
        zero = self._places(feature, np.zeros(len(feature), np.float32))
        shift = part * PLACES
        read_as_zero = np.clip(zero - shift, 0, PLACES)
        default = np.where(kind >> 1 == _NOTHING_MISSING, read_as_zero, np.where(kind & 1, 0, PLACES))
        start, thresholds = self._filled_up()
        return Numbers(
            column=self.columns.astype(np.int32),
            start=start.astype(np.int32),
            thresholds=thresholds,
            first=np.searchsorted(feature, np.arange(len(self.columns) + 1)).astype(np.int32),
            shift=shift.astype(np.int32),
            default=default.astype(np.uint8),
            zero_missing=kind >> 1 == _ZERO_MISSING,
        )

    def _filled_up(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where each column's thresholds begin, and these, a multiple of TOGETHER for each column."""
        counts = np.diff(self.start)
        start = _starts((-(-counts // TOGETHER) * TOGETHER).tolist())
        thresholds = np.full(start[-1], np.inf, np.float32)
        within = np.arange(len(self.thresholds)) - np.repeat(self.start[:-1], counts)
        thresholds[np.repeat(start[:-1], counts) + within] = self.thresholds
        return start, thresholds


@dataclass
class _Sets:
    """Distinct (column, set of categories), as code rows after `before` others."""

    found: list[tuple[int, bytes]]
    before: int

    @classmethod
    def of(cls, trees: Sequence[Tree], before: int) -> _Sets:
        return cls(sorted({key for tree in trees for key in _sets(tree)}), before)

    def rows(self, tree: Tree) -> list[int]:
        """Return the code rows of the categorical tests of a tree, in their order."""
        place = {key: self.before + number for number, key in enumerate(self.found)}
        return [place[key] for key in _sets(tree)]

    def arrays(self) -> Categories:
        columns = np.array([column for column, _ in self.found], np.int64)
        used, first = np.unique(columns, return_index=True)
        members = [np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little") for _, bits in self.found]
        sizes = [len(member) for member in members]
        size = [max(sizes[start:stop]) for start, stop in pairwise([*first.tolist(), len(columns)])]
        # What is in no set goes right at every test, and so does what is above the categories of one.
        width = np.array(size, np.int64)[np.searchsorted(used, columns)] + 1
        tables = [np.concatenate([[1], 1 - member, np.ones(w - 1 - len(member))])
                  for member, w in zip(members, width.tolist(), strict=True)]  # fmt: skip
        return Categories(
            column=used.astype(np.int32),
            first=np.append(first, len(columns)).astype(np.int32),
            size=np.array(size, np.int32),
            start=_starts(width.tolist())[:-1],
            codes=_joined(tables, np.uint8),
        )


def _sets(tree: Tree) -> list[tuple[int, bytes]]:
    """Return column and bits of each categorical test."""
    tests = np.flatnonzero(tree.categorical).tolist()
    return [(int(tree.columns[test]), tree.categories(test).tobytes()) for test in tests]


@dataclass
class _Order:
    """The order of the tests of all trees, and where each one's picks lie."""

    tests_of: list[np.ndarray] = field(default_factory=list)
    places: list[np.ndarray] = field(default_factory=list)

    def add(self, tree: Tree) -> int:
        """Order a tree's tests, children first; return how many rows of picks it needs."""
        if not len(tree.columns):
            self.tests_of.append(np.zeros(0, np.int64))
            self.places.append(np.zeros((0, 3), np.int64))
            return MAX_LEAVES
        order = _children_first(tree)
        left, right = tree.left.tolist(), tree.right.tolist()
        row, free, most, places = {}, [], MAX_LEAVES, []
        for test in order:
            # A test never writes where it reads, or the kernel's loop would not be one of vector instructions.
            if not free:
                free.append(most)
                most += 1
            out = free.pop()
            children = [~child if child < 0 else row[child] for child in (left[test], right[test])]
            free += [place for place in children if place >= MAX_LEAVES]
            row[test] = out
            places.append([*children, out])
        self.tests_of.append(np.array(order))
        self.places.append(np.array(places))
        return most

    def tests(self, trees: Sequence[Tree], parts: Sequence[tuple[np.ndarray, ...]]) -> Tests:
        rows = [row[order] for (row, _), order in zip(parts, self.tests_of, strict=True)]
        codes = [code[order] for (_, code), order in zip(parts, self.tests_of, strict=True)]
        places = np.concatenate([np.zeros((0, 3), np.int64), *self.places]).astype(np.uint32)
        return Tests(
            first=_starts([len(order) for order in self.tests_of]),
            row=_joined(rows, np.uint32),
            code=_joined(codes, np.uint8),
            left=places[:, 0].copy(),
            right=places[:, 1].copy(),
            out=places[:, 2].copy(),
            leaves=_joined([tree.leaves for tree in trees], np.float64),
            first_leaf=_starts([len(tree.leaves) for tree in trees]),
        )


def _children_first(tree: Tree) -> list[int]:
    """Return the tests so that each comes after its children, a larger child's before a smaller one's.

    So few picks wait at a time: about the logarithm of the number of leaves.
    """
    left, right = tree.left.tolist(), tree.right.tolist()
    size = [0] * len(left)
    order, stack = [], [0]
    while stack:
        test = stack.pop()
        order.append(test)
        stack += [child for child in (left[test], right[test]) if child >= 0]
    for test in reversed(order):
        size[test] = 1 + sum(size[child] for child in (left[test], right[test]) if child >= 0)
    result, stack = [], [0]
    while stack:
        test = stack.pop()
        result.append(test)
        # The reversed preorder that visits the smaller child first is the postorder that has the larger one first.
        stack += sorted(
            (child for child in (left[test], right[test]) if child >= 0), key=size.__getitem__, reverse=True
        )
    return result[::-1]


def _starts(sizes: Sequence[int]) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


def _joined(parts: Sequence[np.ndarray], dtype: type[np.generic]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)
