"""Stage one at one cut: fit every source, propose, unite, and score every pair of the union by every source.

One pass over batches of users holds each source's dense scores, so a pair that one source proposed is scored by all
the others from the same matrix. Training and serving run this code and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from candidate_gen.interactions import UNKNOWN, Interactions
from candidate_gen.source import CandidateSource, SourceSkipped, best, seen_positions
from candidate_gen.standing import Groups, percentile, zscore
from feature_repo.errors import ConfigError

SCORE_BYTES = 512 << 20
LARGEST_BATCH = 512

# The rank of a pair outside a source's list: larger than any rank, and exact in float32.
NO_RANK = 1 << 20

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many steps are done, and of how many."""


def silent(what: str, done: int, total: int) -> None:
    """A Progress that shows nothing."""


@dataclass
class Stage:
    """Sources fitted at one cut, how many items each proposes per user, and the seconds that each has taken.

    `skipped`: why a source that this log does not suit was left out, by name.
    """

    interactions: Interactions
    sources: dict[str, CandidateSource]
    depths: dict[str, int]
    allow_repeats: bool
    fit_seconds: dict[str, float] = field(default_factory=dict)
    score_seconds: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        sources: Mapping[str, CandidateSource],
        depths: Mapping[str, int],
        *,
        allow_repeats: bool,
        progress: Progress = silent,
    ) -> Stage:
        """Fit the sources one after the other; those that can't learn from this log are left out."""
        stage = cls(interactions, {}, {}, allow_repeats)
        for number, (name, source) in enumerate(sources.items()):
            progress(f"fit {name}", number, len(sources))
            start = perf_counter()
            try:
                _check_anything_left(source, interactions, allow_repeats)
                stage.sources[name] = source.fit(interactions)
            except SourceSkipped as error:
                stage.skipped[name] = str(error)
                continue
            stage.depths[name] = depths[name]
            stage.fit_seconds[name] = perf_counter() - start
            stage.score_seconds[name] = 0.0
        progress("fit", len(sources), len(sources))
        if not stage.sources:
            raise ConfigError(
                "rankhouse.yaml, key candidates.sources",
                expected="a source that can be fitted on this log",
                got="; ".join(stage.skipped.values()),
                fix="Add a source that has no such limit.",
            )
        return stage

    @property
    def batch_size(self) -> int:
        """Users per batch: bounded by the memory of one float32 score per item and source, however many users ask."""
        per_user = 4 * max(self.interactions.shape[1], 1) * (len(self.sources) + 4)
        return int(np.clip(SCORE_BYTES // per_user, 1, LARGEST_BATCH))

    def batches(self, users: np.ndarray, *, size: int | None = None) -> Iterator[Pairs]:
        """Yield the candidates of consecutive batches of int32 user codes (-1: unknown user)."""
        size = size or self.batch_size
        for start in range(0, len(users), size):
            yield self.propose(users[start : start + size], size)

    def propose(self, users: np.ndarray, size: int) -> Pairs:
        """Return the union of all proposals for a batch of at most `size` users, scored by every source."""
        # Always full batches: matrix products take the same path, and a user's scores don't depend on who else asks.
        padded = np.full(size, UNKNOWN, np.int32)
        padded[: len(users)] = users
        excluded = None if self.allow_repeats else seen_positions(self.interactions, padded)
        width = self.interactions.shape[1]
        scores, proposed = {}, {}
        for name, source in self.sources.items():
            start = perf_counter()
            scores[name] = source.score_batch(padded)
            top = best(scores[name], min(self.depths[name], NO_RANK - 1), floor=source.floor, excluded=excluded)
            within = top.row < len(users)
            proposed[name] = (top.row[within] * width + top.item[within], top.rank[within])
            self.score_seconds[name] += perf_counter() - start
        return _unite(scores, proposed, len(users), width)


def _check_anything_left(source: CandidateSource, interactions: Interactions, allow_repeats: bool) -> None:
    """Raise SourceSkipped where all that the source could propose has been consumed and may not come again."""
    if source.past_only and not allow_repeats and not source.learned_from(interactions).has_unconsumed:
        raise SourceSkipped(
            type(source).__name__,
            expected="items of a user's past that may be proposed",
            got="only consumed ones, and allow_repeats is false",
            fix="Set allow_repeats where people come back to the same items.",
        )


@dataclass(frozen=True)
class Pairs:
    """The union of a batch, sorted by user, then item.

    `row`: int64 position of the user in the batch. `item`: int64 item code. `scores`: float32 per source, NaN where the
    source can't score the pair. `ranks`: int32 per source, from 1, NO_RANK where the source did not propose the pair.
    """

    users: int
    row: np.ndarray
    item: np.ndarray
    scores: dict[str, np.ndarray]
    ranks: dict[str, np.ndarray]

    def columns(self, skipped: Iterable[str] = ()) -> dict[str, np.ndarray]:
        """Return what the entity table says about the pairs, by column name; NaN means null.

        A source that was skipped proposed nothing and can score nothing.
        """
        groups = Groups(self.row, self.users)
        places = groups.places()
        columns: dict[str, np.ndarray] = {}
        nothing = np.full(len(self.row), np.nan, np.float32)
        unranked = np.full(len(self.row), NO_RANK, np.int32)
        for name in (*self.scores, *skipped):
            scores, ranks = self.scores.get(name, nothing), self.ranks.get(name, unranked)
            columns[f"{name}_proposed"] = ranks != NO_RANK
            columns[f"{name}_score"] = scores
            columns[f"{name}_rank"] = ranks
            columns[f"{name}_zscore"] = zscore(scores, groups)
            columns[f"{name}_percentile"] = percentile(scores, groups, places)
        columns["sources_count"] = self.sources_count
        columns["best_rank"] = self.best_rank
        return columns

    @property
    def sources_count(self) -> np.ndarray:
        """How many sources proposed the pair, int32."""
        return np.sum([ranks != NO_RANK for ranks in self.ranks.values()], axis=0, dtype=np.int32)

    @property
    def best_rank(self) -> np.ndarray:
        """The smallest rank that any source gave, int32."""
        return np.min(list(self.ranks.values()), axis=0).astype(np.int32)

    @property
    def fused_score(self) -> np.ndarray:
        """Reciprocal rank fusion: the sum of 1 / (60 + rank) over the sources that proposed the pair, float32."""
        shares = [np.where(ranks == NO_RANK, 0.0, 1.0 / (60.0 + ranks)) for ranks in self.ranks.values()]
        return np.sum(shares, axis=0).astype(np.float32)


def _unite(
    scores: Mapping[str, np.ndarray], proposed: Mapping[str, tuple[np.ndarray, np.ndarray]], users: int, width: int
) -> Pairs:
    position = np.zeros(users * width, np.int32)
    for cells, _ in proposed.values():
        position[cells] = 1
    union = np.flatnonzero(position)
    position[union] = np.arange(len(union), dtype=np.int32)
    ranks = {}
    for name, (cells, rank) in proposed.items():
        ranks[name] = np.full(len(union), NO_RANK, np.int32)
        ranks[name][position[cells]] = rank
    row, item = np.divmod(union, width) if width else (union, union)
    return Pairs(users, row, item, {name: matrix[row, item] for name, matrix in scores.items()}, ranks)
