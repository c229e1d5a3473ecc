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
        return cls(lookup, left.row * code_width(vocabulary), codes.astype(np.int64, copy=False))


@dataclass(frozen=True)
class Pools:
    """What a pair's right list met: the greatest number by name and pair, the sum, and how many were met by pair.

    Zero for a pair whose right list is empty; a value that the left list lacks has the block's last number.
    """

    best: np.ndarray
    total: np.ndarray
    met: np.ndarray

    @classmethod
    def of(cls, left: NumberedLists, right: NumberedLists, block: np.ndarray) -> Self:
        """Match the lists of every pair and pool the numbers of the left ones (values + 1, names; `numbers_block`)."""
        from feature_repo import pair_loops

        index = Index.of(left, right.lists)
        pools = cls(*np.zeros((2, block.shape[1], len(left.row))), np.zeros(len(left.row), np.int64))
        starts, lengths = right.lists.starts, right.lists.lengths
        pair_loops.pool(
            *index.lookup, index.left, right.row, starts, lengths, index.codes, block,
            pools.best, pools.total, pools.met,
        )  # fmt: skip
        return pools
