"""What everyone likes: all-time, and with the weight of an event fading with its age. Serves cold users too."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from candidate_gen.interactions import DAY, Interactions
from candidate_gen.source import CandidateSource, Events


class Popularity(CandidateSource):
    """The summed label weights of an item over all time; 0 for an item without any."""

    floor: ClassVar[float] = 0.0

    def _fit(self, interactions: Interactions) -> None:
        self.popularity_ = _popularity(interactions, interactions.weight)

    def score_batch(self, users: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self.popularity_, (len(users), len(self.popularity_)))


class RecentPopularity(CandidateSource):
    """The label weights of an item, each halved per `half_life_days` between the event and the last one of the log."""

    floor: ClassVar[float] = 0.0

    def __init__(self, half_life_days: float = 7.0, events: Events = "targets") -> None:
        self.half_life_days = half_life_days
        self.events = events

    def _fit(self, interactions: Interactions) -> None:
        # Counted from the last event and not from the cut: after a long silence everything would fade to nothing.
        age = (interactions.time[-1:].sum() - interactions.time) / DAY
        self.popularity_ = _popularity(interactions, interactions.weight * np.exp2(-age / self.half_life_days))

    def score_batch(self, users: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self.popularity_, (len(users), len(self.popularity_)))


def _popularity(interactions: Interactions, weight: np.ndarray) -> np.ndarray:
    """Sum event weights per item: float32, one per item code."""
    return np.bincount(interactions.item, weight, minlength=interactions.shape[1]).astype(np.float32)
