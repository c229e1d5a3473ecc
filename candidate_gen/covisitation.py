"""Item co-visitation: what users consumed right after, or around, an item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from candidate_gen.history import recent_items
from candidate_gen.interactions import DAY, Interactions
from candidate_gen.neighbours import history_rows, history_scores
from candidate_gen.similarity import keep_top, row_blocks, stack
from candidate_gen.source import CandidateSource

_BLOCK_PAIRS = 4_000_000


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

    def _fit(self, interactions: Interactions) -> None:
        self.similarity_ = self._similarity(_Sequences.of(interactions, self.half_life_days), interactions.shape[1])
        self.history_ = recent_items(interactions, last=self.history, position_decay=self.history_decay)
        self.unvisited_ = np.bincount(interactions.item, interactions.weight, minlength=interactions.shape[1]) == 0

    def score_batch(self, users: np.ndarray) -> np.ndarray:
        history = history_rows(self.history_, users)
        scores = history_scores(history, self.similarity_)
        scores[np.diff(history.indptr) == 0] = np.nan
        scores[:, self.unvisited_] = np.nan
        return scores

    def _similarity(self, sequences: _Sequences, items: int) -> sparse.csr_array:
        """Count and cut in blocks of first items, so that only one block of pairs is held at a time."""
        mass = np.bincount(sequences.item, sequences.weight * sequences.fading, minlength=items)
        scale = np.power(mass, -self.popularity_exponent, where=mass > 0, out=np.zeros(items))
        by_item = np.argsort(sequences.item, kind="stable")
        bounds = np.searchsorted(sequences.item[by_item], np.arange(items + 1))
        steps = np.arange(1, self.window + 1)
        offsets = steps if self.directional else np.concatenate([-steps[::-1], steps])
        parts = []
        for start, stop in row_blocks(np.diff(bounds) * len(offsets), _BLOCK_PAIRS):
            here, there, count = self._pairs(sequences, by_item[bounds[start] : bounds[stop]], offsets)
            first, second = sequences.item[here], sequences.item[there]
            entries = (count * scale[first] * scale[second], (first - start, second))
            parts.append(keep_top(sparse.coo_array(entries, shape=(stop - start, items)).tocsr(), self.top_k))
        return stack(parts, items)

    def _pairs(
        self, sequences: _Sequences, places: np.ndarray, offsets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (place, other place, count) of the pairs that begin at the given places."""
        size = len(sequences.item)
        others = places[:, None] + offsets
        row, column = np.nonzero((others >= 0) & (others < size))
        here, there = places[row], others[row, column]
        linked = (sequences.user[here] == sequences.user[there]) & (sequences.item[here] != sequences.item[there])
        if self.max_gap_days is not None:
            linked &= np.abs(sequences.time[here] - sequences.time[there]) <= self.max_gap_days * DAY
        here, there = here[linked], there[linked]
        count = np.power(self.position_decay, np.abs(here - there) - 1)
        count *= sequences.weight[here] * sequences.weight[there] * sequences.fading[np.maximum(here, there)]
        return here, there, count


@dataclass(frozen=True)
class _Sequences:
    """Target events, user by user, in order of time (at one time: of item)."""

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    weight: np.ndarray
    fading: np.ndarray

    @classmethod
    def of(cls, interactions: Interactions, half_life_days: float | None) -> _Sequences:
        targets = np.flatnonzero(interactions.weight > 0)
        order = targets[np.argsort(interactions.user[targets], kind="stable")]
        fading = np.ones(len(order)) if half_life_days is None else interactions.fading(half_life_days)[order]
        return cls(
            interactions.user[order],
            interactions.item[order],
            interactions.time[order],
            interactions.weight[order],
            fading,
        )
