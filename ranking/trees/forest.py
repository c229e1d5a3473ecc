"""LightGBM's trees, ready to score: `Forest.of(booster)` where they are of the kind that we know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from feature_repo.errors import ContractError
from ranking.trees.plan import MAX_LEAVES, Plan, lay_out
from ranking.trees.text import Model, read

if TYPE_CHECKING:
    import lightgbm

_SUMS: Final = ("lambdarank", "rank_xendcg", "regression")
_BINARY: Final = "binary sigmoid:"
MAX_CATEGORIES: Final = 4096


@dataclass(frozen=True)
class Forest:
    """Trees whose scores are `Booster.predict`'s, to the bit; safe to share between threads.

    `slope`: of the sigmoid that the sum is put through, None where it is the score. `divisor`: what sums are divided
    by.
    """

    plan: Plan
    columns: int
    slope: float | None
    divisor: int

    @classmethod
    def of(cls, booster: lightgbm.Booster, *, rounds: int | None = None, raw: bool = False) -> Self | None:
        """Return the booster's first `rounds` trees; None where LightGBM has to score: see `supported`.

        `raw`: their sum, whatever becomes of it: no mean, no sigmoid.
        """
        model = read(booster.model_to_string(num_iteration=rounds))
        if not supported(model):
            return None
        sigmoid = model.objective.startswith(_BINARY) and not raw
        slope = float(model.objective.removeprefix(_BINARY)) if sigmoid else None
        return cls(lay_out(model.trees), model.columns, slope, len(model.trees) if model.average and not raw else 1)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return float64 scores of float32 rows (rows, columns of the model), on the calling thread.

        A matrix that lies column by column is read as it is, another one is copied. The first call of a process takes
        seconds: it compiles. Raises ContractError for another matrix.
        """
        from ranking.trees.kernels import to_shares

        if matrix.dtype != np.float32 or matrix.ndim != 2 or matrix.shape[1] != self.columns:
            raise ContractError(
                "the matrix to score", expected=f"float32 with {self.columns} columns",
                got=f"{matrix.dtype} of shape {matrix.shape}", fix="Encode it as the model's manifest says.",
            )  # fmt: skip
        scores = self._sums(np.require(matrix.T, requirements=["C", "W"]))
        if self.divisor > 1:
            scores /= self.divisor
        if self.slope is not None:
            to_shares(scores, self.slope)
        return scores

    def _sums(self, columns: np.ndarray) -> np.ndarray:
        from ranking.trees.kernels import BLOCK, add_trees, code_categories, code_numbers

        plan, count = self.plan, columns.shape[1]
        codes, picks = np.zeros((plan.rows, BLOCK), np.uint8), np.empty((plan.picks, BLOCK), np.uint8)
        picks[:MAX_LEAVES] = np.arange(MAX_LEAVES)[:, None]
        values, places, ends = np.zeros(BLOCK, np.float32), np.zeros(BLOCK, np.int32), np.empty(BLOCK, np.int32)
        sums = np.zeros(-(-count // BLOCK) * BLOCK)
        for begin in range(0, count, BLOCK):
            rows = min(BLOCK, count - begin)
            code_numbers(columns, begin, rows, plan.numbers, values, places, codes)
            code_categories(columns, begin, rows, plan.categories, len(plan.numbers.shift), places, ends, codes)
            add_trees(codes, plan.tests, picks, sums[begin : begin + BLOCK])
        return sums[:count]


def supported(model: Model) -> bool:
    """Whether these trees are ours to score.

    One output, leaves that are constants, at most 256 of them a tree, categories below 4,096, and an objective whose
    score is the sum of the leaves or its sigmoid.
    """
    known = model.objective in _SUMS or model.objective.startswith(_BINARY)
    simple = all(
        len(tree.leaves) <= MAX_LEAVES and tree.most_categories <= MAX_CATEGORIES and not tree.linear
        for tree in model.trees
    )
    return known and simple and model.outputs == 1 and len(model.trees) > 0
