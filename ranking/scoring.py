"""Scores for candidates of one cut, read and scored some users at a time, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from candidate_gen.pipeline import Progress, silent
from ranking.model_store import RankingModel
from ranking.order import Groups
from ranking.training_set import read_features, user_groups

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

BATCH_ROWS: Final = 1_000_000


def score_offline(
    workspace: Workspace, model: RankingModel, rows: pa.Table, *, progress: Progress = silent
) -> np.ndarray:
    """Return float64 scores for user_id, item_id, event_timestamp rows of one cut, sorted by user, then item."""
    parts = []
    for start, stop in batches(user_groups(rows)):
        progress("score", start, rows.num_rows)
        batch = rows.slice(start, stop - start)
        parts.append(model.score(read_features(workspace, batch, model.manifest.service)))
    progress("score", rows.num_rows, rows.num_rows)
    return np.concatenate(parts) if parts else np.empty(0)


def batches(groups: Groups, most: int = BATCH_ROWS) -> Iterator[tuple[int, int]]:
    """Yield [start, stop) row ranges of whole groups with at most `most` rows (one group, where it alone is larger)."""
    ends = np.cumsum(groups.sizes)
    start = 0
    while start < (ends[-1] if len(ends) else 0):
        place = np.searchsorted(ends, start + most, side="right") - 1
        stop = int(ends[max(place, np.searchsorted(ends, start, side="right"))])
        yield start, stop
        start = stop
