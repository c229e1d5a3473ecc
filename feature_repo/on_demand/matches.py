"""Matching lists of names pair by pair: equal values found by one index of the left lists, made once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from feature_repo.on_demand.codes import Lookup
from feature_repo.on_demand.lists import NumberedLists, RowLists, code_width


@dataclass(frozen=True)
class Index:
    """The values of left lists by list and code, in a vocabulary that the right lists share.

    `codes`: those of the values of the right lists; `left`: by pair, where the codes of its left list begin.
    """

    lookup: Lookup
    left: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, left: NumberedLists, right: RowLists) -> Self:
        """Index lists of names for each pair; lists that pairs share are encoded and indexed once."""
        # By the vocabulary of the larger side: it may be one that was read, encoded and indexed before.
        if len(left.lists.values) >= len(right.values):
            vocabulary, _ = left.lists.vocabulary
            codes, lookup = right.codes_in(vocabulary), left.lists.own_lookup
        else:
            vocabulary, codes = right.vocabulary
            lookup = left.lists.lookup(left.lists.codes_in(vocabulary), code_width(vocabulary))
        begins = left.row if len(left.lists.lengths) == 1 else left.row * code_width(vocabulary)
        return cls(lookup, begins, codes.astype(np.int64, copy=False))
