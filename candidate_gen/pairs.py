"""The union of a batch's proposals and every source's verdict on each pair of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Final

import numpy as np

from candidate_gen.standing import Groups, percentile, zscore

# The rank of a pair outside a source's list: larger than any rank, and exact in float32.
NO_RANK: Final = 1 << 20


@dataclass(frozen=True)
class Pairs:
    """The union of a batch, sorted by user, then item.

    `row`: int64 position of the user in the batch. `item`: int64 item code. `scores`: float32 per source, NaN where the
    source can't score the pair. `ranks`: int32 per source, from 1, NO_RANK where the source did not propose the pair.
    `seconds`: what each source took.
    """

    users: int
    row: np.ndarray
    item: np.ndarray
    scores: dict[str, np.ndarray]
    ranks: dict[str, np.ndarray]
    seconds: dict[str, float] = field(default_factory=dict)

    def columns(self, skipped: Iterable[str] = ()) -> dict[str, np.ndarray]:
        """Return what the entity table says about the pairs, by column name; NaN means null.

        A source that was skipped proposed nothing and can score nothing.
        """
        groups = Groups(self.row, self.users)
        columns: dict[str, np.ndarray] = {}
        nothing = np.full(len(self.row), np.nan, np.float32)
        unranked = np.full(len(self.row), NO_RANK, np.int32)
        for name in (*self.scores, *skipped):
            scores, ranks = self.scores.get(name, nothing), self.ranks.get(name, unranked)
            columns[f"{name}_proposed"] = ranks != NO_RANK
            columns[f"{name}_score"] = scores
            columns[f"{name}_rank"] = ranks
            columns[f"{name}_zscore"] = zscore(scores, groups)
            columns[f"{name}_percentile"] = percentile(scores, groups)
        columns["sources_count"] = self.sources_count
        columns["best_rank"] = self.best_rank
        return columns

    @property
    def sources_count(self) -> np.ndarray:
        """How many sources proposed the pair, int32."""
        count = np.zeros(len(self.row), np.int32)
        for ranks in self.ranks.values():
            count += ranks != NO_RANK
        return count

    @property
    def best_rank(self) -> np.ndarray:
        """The smallest rank that any source gave, int32."""
        return reduce(np.minimum, self.ranks.values())

    @property
    def fused_score(self) -> np.ndarray:
        """Reciprocal rank fusion: the sum of 1 / (60 + rank) over the sources that proposed the pair, float32."""
        fused = np.zeros(len(self.row))
        for ranks in self.ranks.values():
            proposed = np.flatnonzero(ranks != NO_RANK)
            fused[proposed] += 1.0 / (60.0 + ranks[proposed])
        return fused.astype(np.float32)


def unite(
    scores: Mapping[str, np.ndarray],
    proposed: Mapping[str, tuple[np.ndarray, np.ndarray]],
    seconds: dict[str, float],
    shape: tuple[int, int],
) -> Pairs:
    """Return the union of what the sources propose for the cells of their score matrices of one `shape`.

    `proposed`: flat cells, each at most once, and their int32 ranks.
    """
    users, width = shape
    within = np.zeros(users * width, bool)
    for cells, _ in proposed.values():
        within[cells] = True
    union = np.flatnonzero(within)
    position = np.empty(users * width, np.int32)  # read where a cell is in the union only
    position[union] = np.arange(len(union), dtype=np.int32)
    ranks = {}
    for name, (cells, rank) in proposed.items():
        ranks[name] = np.full(len(union), NO_RANK, np.int32)
        ranks[name][position[cells]] = rank
    row, item = np.divmod(union, width) if width else (union, union)
    picked = {name: _pick(matrix, union, row, item) for name, matrix in scores.items()}
    return Pairs(users, row, item, picked, ranks, seconds)


def _pick(matrix: np.ndarray, cells: np.ndarray, row: np.ndarray, item: np.ndarray) -> np.ndarray:
    return matrix.ravel()[cells] if matrix.flags.c_contiguous else matrix[row, item]
