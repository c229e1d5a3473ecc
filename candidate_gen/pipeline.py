"""Stage one at one cut: fit every source, propose, unite, and score every pair of the union by every source.

One pass over batches of users holds each source's dense scores, so a pair that one source proposed is scored by all
the others from the same matrix. Training and serving run this code and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, TypeVar

import numpy as np

from candidate_gen.blas import one_blas_thread
from candidate_gen.interactions import UNKNOWN, Interactions
from candidate_gen.pairs import NO_RANK, Pairs, unite
from candidate_gen.selection import best
from candidate_gen.source import CandidateSource, SourceSkipped, seen_positions
from feature_repo.errors import ConfigError
from feature_repo.stores.ordered import in_order

# A thread holds so much of scores at a time.
SCORE_BYTES: Final = 256 << 20
LARGEST_BATCH: Final = 256
# Sources fitted side by side: each may hold a multiple of what it keeps.
MOST_FITS: Final = 2

Result = TypeVar("Result")

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many steps are done, and of how many."""


def silent(what: str, done: int, total: int) -> None:
    """A Progress that shows nothing."""


@dataclass
class Stage:
    """Sources fitted at one cut, how many items each proposes per user, and the seconds that each has taken.

    `fitting`: how long the fits took together. Sources are fitted side by side and wait for each other's cores, so this
    is less than the sum of `fit_seconds`. `skipped`: why a source that this log does not suit was left out, by name.
    `threads` work beside each other; their number shows in no result.
    """

    interactions: Interactions
    sources: dict[str, CandidateSource]
    depths: dict[str, int]
    allow_repeats: bool
    threads: int = 1
    fitting: float = 0.0
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
        threads: int = 1,
        progress: Progress = silent,
    ) -> Stage:
        """Fit the sources in turn, two at a time where there are threads; those that can't learn here are left out."""
        stage, start = cls(interactions, {}, {}, allow_repeats, threads), perf_counter()
        progress("fit", 0, len(sources))

        def fit(source: CandidateSource) -> tuple[CandidateSource, float] | SourceSkipped:
            return _fit(source, interactions, allow_repeats)

        with one_blas_thread():
            fits = in_order(fit, sources.values(), min(threads, MOST_FITS))
            for number, (name, fitted) in enumerate(zip(sources, fits, strict=True), start=1):
                progress(f"fit {name}", number, len(sources))
                if isinstance(fitted, SourceSkipped):
                    stage.skipped[name] = str(fitted)
                    continue
                stage.sources[name], stage.fit_seconds[name] = fitted
                stage.depths[name], stage.score_seconds[name] = depths[name], 0.0
        stage.fitting = perf_counter() - start
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
        yield from self.work(users, lambda _, pairs: pairs, size=size)

    def work(
        self, users: np.ndarray, finish: Callable[[int, Pairs], Result], *, size: int | None = None
    ) -> Iterator[Result]:
        """Yield, in order, what `finish` makes of each batch's first position in `users` and its candidates.

        Batches are made and finished in as many threads as the stage has; the number does not show in the results.
        """
        size = size or self.batch_size

        def task(start: int) -> tuple[dict[str, float], Result]:
            pairs = self.propose(users[start : start + size], size)
            return pairs.seconds, finish(start, pairs)

        with one_blas_thread():
            for seconds, result in in_order(task, range(0, len(users), size), self.threads):
                for name, spent in seconds.items():
                    self.score_seconds[name] += spent
                yield result

    def propose(self, users: np.ndarray, size: int) -> Pairs:
        """Return the union of all proposals for a batch of at most `size` users, scored by every source."""
        # Always full batches: matrix products take the same path, and a user's scores don't depend on who else asks.
        padded = np.full(size, UNKNOWN, np.int32)
        padded[: len(users)] = users
        excluded = None if self.allow_repeats else seen_positions(self.interactions, padded)
        width = self.interactions.shape[1]
        scores, proposed, seconds = {}, {}, {}
        for name, source in self.sources.items():
            start = perf_counter()
            scores[name] = source.score_batch(padded)[: len(users)]
            top = best(scores[name], min(self.depths[name], NO_RANK - 1), floor=source.floor, excluded=excluded)
            proposed[name] = (top.row * width + top.item, top.rank)
            seconds[name] = perf_counter() - start
        return unite(scores, proposed, seconds, (len(users), width))


def _fit(
    source: CandidateSource, interactions: Interactions, allow_repeats: bool
) -> tuple[CandidateSource, float] | SourceSkipped:
    """Return the fitted source and the seconds that it took, or why it was left out."""
    start = perf_counter()
    try:
        _check_anything_left(source, interactions, allow_repeats)
        return source.fit(interactions), perf_counter() - start
    except SourceSkipped as error:
        return error


def _check_anything_left(source: CandidateSource, interactions: Interactions, allow_repeats: bool) -> None:
    """Raise SourceSkipped where all that the source could propose has been consumed and may not come again."""
    if source.past_only and not allow_repeats and not source.learned_from(interactions).has_unconsumed:
        raise SourceSkipped(
            type(source).__name__,
            expected="items of a user's past that may be proposed",
            got="only consumed ones, and allow_repeats is false",
            fix="Set allow_repeats where people come back to the same items.",
        )
