"""What is popular among users of the same segment: age group, country, plan, device ..."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from scipy import sparse

from candidate_gen.attributes import is_category, is_number, segment_codes
from candidate_gen.interactions import Interactions
from candidate_gen.neighbours import history_rows
from candidate_gen.source import CandidateSource
from feature_repo.errors import ConfigError, did_you_mean


class SegmentPopularity(CandidateSource):
    """Scores an item by its share of the (decayed) label weight within the user's segment.

    The share is smoothed towards the global one as if every segment held `smoothing` more label weight, spread as it is
    globally. A user without the attribute, or unknown, gets the global share. `attribute=None` takes the first category
    of 2 to `max_segments` values, else the first number (cut into `bins` quantile bins), else no segment.
    Items without a target event score 0 and are not proposed. Raises ConfigError for an attribute that isn't there.
    """

    floor = 0.0

    def __init__(
        self,
        attribute: str | None = None,
        half_life_days: float | None = None,
        smoothing: float = 1000.0,
        bins: int = 8,
        max_segments: int = 100,
    ) -> None:
        self.attribute = attribute
        self.half_life_days = half_life_days
        self.smoothing = smoothing
        self.bins = bins
        self.max_segments = max_segments

    def _fit(self, interactions: Interactions) -> None:
        self.attribute_ = self._choose(interactions.users)
        segment, names = np.full(interactions.shape[0], -1, np.int32), []
        if self.attribute_ is not None:
            segment, names = segment_codes(interactions.users[self.attribute_], self.bins)
        faded = interactions.decayed(self.half_life_days)
        total = faded.sum(axis=0, dtype=np.float64)
        self.global_share_ = total / (total.sum() or 1.0)
        member = np.flatnonzero(segment >= 0)
        membership = sparse.coo_array(
            (np.ones(len(member)), (segment[member], member)), shape=(len(names), len(segment))
        )
        self.segments_, self.segment_of_user_ = names, segment
        self.segment_counts_ = sparse.csr_array(membership.tocsr() @ faded.astype(np.float64))

    def score_batch(self, users: np.ndarray) -> np.ndarray:
        segment = np.full(len(users), -1, np.int32)
        segment[users >= 0] = self.segment_of_user_[users[users >= 0]]
        distinct, position = np.unique(segment, return_inverse=True)
        counts = history_rows(self.segment_counts_, distinct).toarray()
        total = counts.sum(axis=1, keepdims=True)
        # Whoever's segment holds no weight is judged by the global share alone, also without smoothing.
        smoothing = np.where(total > 0, self.smoothing, 1.0)
        shares = (counts + smoothing * self.global_share_) / (total + smoothing)
        return shares.astype(np.float32)[position]

    def _choose(self, users: pa.Table) -> str | None:
        if self.attribute is None:
            fits = [name for name in users.column_names if self._is_segmentation(users[name])]
            numbers = [name for name in users.column_names if is_number(users[name].type)]
            return next(iter(fits + numbers), None)
        if self.attribute not in users.column_names:
            raise ConfigError(
                "SegmentPopularity, parameter attribute",
                expected=f"an attribute of the users ({', '.join(users.column_names) or 'this data set has none'})",
                got=repr(self.attribute),
                fix="Correct it, or leave it out to take the first one that fits."
                + did_you_mean(self.attribute, users.column_names),
            )
        return self.attribute

    def _is_segmentation(self, column: pa.ChunkedArray) -> bool:
        return is_category(column.type) and 2 <= len(segment_codes(column, self.bins)[1]) <= self.max_segments
