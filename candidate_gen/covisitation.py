"""Item co-visitation: what users consumed right after, or around, an item."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import sparse

from candidate_gen.history import recent_items
from candidate_gen.interactions import DAY, Interactions
from candidate_gen.neighbours import history_factor, history_rows, history_scores
from candidate_gen.similarity import keep_top, row_blocks, stack
from candidate_gen.source import CandidateSource, Events

BLOCK_PAIRS: Final = 1_000_000
# Adding to a table of so many cells per pair is cheaper than sorting the pairs.
DENSE_CELLS: Final = 16


class Covisitation(CandidateSource):
    """Counts pairs of target events that lie within `window` places (and `max_gap_days`) of one user's sequence.

    A pair counts the product of its label weights, times `position_decay` per place beyond the first, times one half
    per half-life between its later event and the cut. `directional`: from the earlier to the later item only; else both
    ways. Counts are divided by (weight of a * weight of b) ** `popularity_exponent`, with the same decay; of each item
    the `top_k` best stay. A user's score sums the rows of the last `history` items, times `history_decay` per place.
    `similarity_`: float32 (items, items), row i what goes with item i.
    Null for users without a target event and for items without one; 0 means that nothing links the pair.
    """

    floor = 0.0

    def __init__(
        self,
        directional: bool = False,
        window: int = 20,
        max_gap_days: float | None = None,
        position_decay: float = 0.95,
        half_life_days: float | None = 60.0,
        popularity_exponent: float = 0.2,
        top_k: int = 500,
        history: int = 200,
        history_decay: float = 0.99,
        events: Events = "targets",
    ) -> None:
        self.directional = directional
        self.window = window
        self.max_gap_days = max_gap_days
        self.position_decay = position_decay
        self.half_life_days = half_life_days
        self.popularity_exponent = popularity_exponent
        self.top_k = top_k
        self.history = history
        self.history_decay = history_decay
        self.events = events

    def _fit(self, interactions: Interactions) -> None:
        self.similarity_ = self._similarity(_Sequences.of(interactions, self.half_life_days), interactions.shape[1])
        self.history_ = recent_items(interactions, last=self.history, position_decay=self.history_decay)
        self.factor_ = history_factor(self.history_, self.similarity_)
        self.unvisited_ = np.bincount(interactions.item, interactions.weight, minlength=interactions.shape[1]) == 0

    def score_batch(self, users: np.ndarray) -> np.ndarray:
        history = history_rows(self.history_, users)
        scores = history_scores(history, self.factor_)
        scores[np.diff(history.indptr) == 0] = np.nan
        scores[:, self.unvisited_] = np.nan
        return scores

    def similar_items(self) -> sparse.csr_array:
        return self.similarity_

    def _similarity(self, sequences: _Sequences, items: int) -> sparse.csr_array:
        """Count and cut in blocks of first items, so that only one block of pairs is held at a time."""
        mass = np.bincount(sequences.item, sequences.faded, minlength=items)
        scale = np.power(mass, -self.popularity_exponent, where=mass > 0, out=np.zeros(items))[sequences.item]
        sequences = replace(sequences, weight=sequences.weight * scale, faded=sequences.faded * scale)
        by_item = np.argsort(sequences.item, kind="stable")
        bounds = np.searchsorted(sequences.item[by_item], np.arange(items + 1))
        most = np.diff(bounds) * self.window * (1 if self.directional else 2)
        parts = []
        for start, stop in row_blocks(most, BLOCK_PAIRS):
            counts = self._counts(sequences, by_item[bounds[start] : bounds[stop]], start, (stop - start, items))
            parts.append(keep_top(counts, self.top_k))
        return stack(parts, items)

    def _counts(
        self, sequences: _Sequences, places: np.ndarray, first_item: int, shape: tuple[int, int]
    ) -> sparse.csr_array | np.ndarray:
        """Return the counts of the given places' items, float32; many places of one item are counted in turns."""
        step = max(1, BLOCK_PAIRS // self.window)
        total = None
        for turn in range(0, max(len(places), 1), step):
            for ahead in (True,) if self.directional else (True, False):
                first, second, count = self._pairs(sequences, places[turn : turn + step], ahead=ahead)
                part = _summed(count, first - first_item, second, shape)
                total = part if total is None else total + part
        return total.astype(np.float32)

    def _pairs(
        self, sequences: _Sequences, places: np.ndarray, *, ahead: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (item, other item, count) of the pairs of the given places with those ahead of or behind them."""
        room = np.minimum(sequences.ahead[places] if ahead else sequences.behind[places], self.window)
        here = np.repeat(places, room)
        step = np.arange(1, len(here) + 1) - np.repeat(np.cumsum(room) - room, room)
        there = here + step if ahead else here - step
        earlier, later = (here, there) if ahead else (there, here)
        first, second = sequences.item[here], sequences.item[there]
        count = sequences.weight[earlier] * sequences.faded[later]
        count *= np.power(self.position_decay, np.arange(self.window))[step - 1]
        count[first == second] = 0
        if self.max_gap_days is not None:
            count[sequences.time[later] - sequences.time[earlier] > self.max_gap_days * DAY] = 0
        return first, second, count


def _summed(
    count: np.ndarray, row: np.ndarray, column: np.ndarray, shape: tuple[int, int]
) -> sparse.csr_array | np.ndarray:
    """Add up the counts of each cell, float64; in a dense table unless most of it would be empty."""
    rows, width = shape
    if rows * width <= DENSE_CELLS * len(count):
        return np.bincount(row * width + column, count, minlength=rows * width).reshape(shape)
    return sparse.coo_array((count, (row, column)), shape=shape).tocsr()


@dataclass(frozen=True)
class _Sequences:
    """Target events, user by user, in order of time (at one time: of item).

    `faded`: the label weight times the event's decay. `behind`, `ahead`: the user's events on either side.
    """

    item: np.ndarray
    time: np.ndarray
    weight: np.ndarray
    faded: np.ndarray
    behind: np.ndarray
    ahead: np.ndarray

    @classmethod
    def of(cls, interactions: Interactions, half_life_days: float | None) -> _Sequences:
        targets = np.flatnonzero(interactions.weight > 0)
        order = targets[np.argsort(interactions.user[targets], kind="stable")]
        user, weight = interactions.user[order], interactions.weight[order]
        faded = weight if half_life_days is None else weight * interactions.fading(half_life_days)[order]
        bounds = np.searchsorted(user, np.arange(interactions.shape[0] + 1))
        place = np.arange(len(user))
        behind, ahead = place - bounds[user], bounds[user + 1] - 1 - place
        return cls(interactions.item[order], interactions.time[order], weight, faded, behind, ahead)
