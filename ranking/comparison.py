"""Two rankings of the same users: the mean difference with its interval, and what it allows to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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


Values = Mapping[str, np.ndarray]


def pooled(users: Sequence[pa.Array], values: Sequence[Values]) -> tuple[pa.Array, dict[str, np.ndarray]]:
    """Return the users of several windows, ascending, and their values; who is in more than one counts once, averaged.

    >>> one, two = {"ndcg": np.array([1.0, 0.0])}, {"ndcg": np.array([0.5, 0.3])}
    >>> found, means = pooled([pa.array(["a", "b"]), pa.array(["b", "c"])], [one, two])
    >>> found.to_pylist(), means["ndcg"].tolist()
    (['a', 'b', 'c'], [1.0, 0.25, 0.3])
    """
    everyone = pa.chunked_array(list(users)).combine_chunks()
    distinct = pc.unique(everyone)
    distinct = distinct.take(pc.sort_indices(distinct))
    place = pc.index_in(everyone, value_set=distinct).to_numpy()
    counts = np.bincount(place)
    joined = {metric: np.concatenate([window[metric] for window in values]) for metric in values[0]}
    return distinct, {metric: np.bincount(place, both) / counts for metric, both in joined.items()}
