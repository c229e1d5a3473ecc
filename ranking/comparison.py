"""Two rankings of the same users: the mean difference with its interval, and what it allows to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ranking.metrics import paired_bootstrap


@dataclass(frozen=True)
class Difference:
    """One ranking minus another (`against`): mean and 95% interval over users drawn with replacement, in pairs."""

    against: str
    metric: str
    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """`better` or `worse` only where the interval excludes 0.

        >>> Difference("als", "ndcg@10", 0.02, -0.001, 0.04).verdict
        'not different'
        """
        return "better" if self.low > 0 else "worse" if self.high < 0 else "not different"


def difference(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], metric: str, *, against: str, seed: int
) -> Difference:
    """Compare two rankings by a metric; both map it to one value per user, in the same order."""
    return Difference(against, metric, *paired_bootstrap(ours[metric], theirs[metric], seed=seed))
