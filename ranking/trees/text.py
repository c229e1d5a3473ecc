"""A booster's text (LightGBM's own format) as arrays: one Tree per tree, and what is done with their sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

_TREE: Final = "\nTree="
_END: Final = "\nend of trees"
_CATEGORICAL: Final = 1
_DEFAULT_LEFT: Final = 2


@dataclass(frozen=True)
class Tree:
    """One tree; a child below 0 is the leaf `~child`. Tests that are categorical have a place in `boundaries`."""

    fields: Mapping[str, str]

    @cached_property
    def leaves(self) -> np.ndarray:
        return self._array("leaf_value", np.float64)

    @cached_property
    def columns(self) -> np.ndarray:
        return self._array("split_feature", np.int64)

    @cached_property
    def thresholds(self) -> np.ndarray:
        return self._array("threshold", np.float64)

    @cached_property
    def left(self) -> np.ndarray:
        return self._array("left_child", np.int64)

    @cached_property
    def right(self) -> np.ndarray:
        return self._array("right_child", np.int64)

    @cached_property
    def categorical(self) -> np.ndarray:
        return self._decisions & _CATEGORICAL > 0

    @cached_property
    def default_left(self) -> np.ndarray:
        return self._decisions & _DEFAULT_LEFT > 0

    @cached_property
    def missing(self) -> np.ndarray:
        """What counts as missing, per test: 0 nothing (null is read as 0), 1 zero and null, 2 null."""
        return self._decisions >> 2 & 3

    def categories(self, test: int) -> np.ndarray:
        """Return the bits (uint32) of the categories that go left at a categorical test."""
        place = int(self.thresholds[test])
        start, stop = self._boundaries[place : place + 2]
        return self._bits[start:stop]

    @property
    def most_categories(self) -> int:
        """An upper bound of the categories in any set, those between them among it."""
        return 32 * int(np.diff(self._boundaries).max(initial=0))

    @property
    def linear(self) -> bool:
        return self.fields.get("is_linear", "0") != "0"

    @cached_property
    def _decisions(self) -> np.ndarray:
        return self._array("decision_type", np.int64)

    @cached_property
    def _boundaries(self) -> np.ndarray:
        return self._array("cat_boundaries", np.int64)

    @cached_property
    def _bits(self) -> np.ndarray:
        return self._array("cat_threshold", np.uint32)

    def _array(self, name: str, dtype: type[np.generic]) -> np.ndarray:
        return np.array(self.fields.get(name, "").split(), dtype)


@dataclass(frozen=True)
class Model:
    """`objective` decides what is done with the sum; `average`: the sum is divided by the number of trees."""

    objective: str
    outputs: int
    average: bool
    columns: int
    trees: tuple[Tree, ...]


def read(text: str) -> Model:
    """Read what `Booster.model_to_string` gives."""
    head, *blocks = text.split(_END, 1)[0].split(_TREE)
    lines = head.split("\n")
    known = _fields(lines)
    return Model(
        objective=known.get("objective", ""),
        outputs=int(known["num_tree_per_iteration"]),
        average="average_output" in lines,
        columns=int(known["max_feature_idx"]) + 1,
        trees=tuple(Tree(_fields(block.split("\n"))) for block in blocks),
    )


def _fields(lines: list[str]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in lines if "=" in line)
