"""Scores for candidates of one cut, their features read and scored some rows at a time: memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from candidate_gen.pipeline import Progress, silent
from ranking.matrices import ROWS
from ranking.model_store import RankingModel
from ranking.order import Groups
from ranking.training_set import feature_parts, user_groups
from ranking.trees.scorer import Predict, in_blocks, predictor

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

BATCH_ROWS: Final = 1_000_000


def score_offline(
    workspace: Workspace,
    model: RankingModel,
    rows: pa.Table,
    *,
    predict: Predict | None = None,
    progress: Progress = silent,
) -> np.ndarray:
    """Return float64 scores for user_id, item_id, event_timestamp rows.

    `predict`: what computes them (`ranking.trees.scorer.predictor`), where more rows are to come.
    """
    predict = predict or predictor(model.booster, rows.num_rows)
    scores, done = np.empty(rows.num_rows), 0
    for part in feature_parts(workspace, rows, model.manifest.service):
        progress("score", done, rows.num_rows)
        for some in (part.slice(start, ROWS) for start in range(0, part.num_rows, ROWS)):
            scores[done : done + some.num_rows] = in_blocks(predict, model.manifest.encoding.encode(some))
            done += some.num_rows
        del part  # before the next one is made
    progress("score", rows.num_rows, rows.num_rows)
    return scores


def whole_users(read: Iterable[pa.RecordBatch], most: int) -> Iterator[pa.Table]:
    """Yield rows that are sorted by user in tables of whole users with at most `most` rows, if no user has more."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in read:
        held.append(batch)
        rows += batch.num_rows
        if rows > most:
            table = pa.Table.from_batches(held).combine_chunks()
            *full, (rest, _) = batches(user_groups(table), most)  # the last user may go on in the next batch
            yield from (table.slice(start, stop - start) for start, stop in full)
            held = table.slice(rest).to_batches()
            rows -= rest
    if rows:
        yield pa.Table.from_batches(held).combine_chunks()


def batches(groups: Groups, most: int = BATCH_ROWS) -> Iterator[tuple[int, int]]:
    """Yield [start, stop) row ranges of whole groups with at most `most` rows (one group, where it alone is larger)."""
    ends = np.cumsum(groups.sizes)
    start = 0
    while start < (ends[-1] if len(ends) else 0):
        place = np.searchsorted(ends, start + most, side="right") - 1
        stop = int(ends[max(place, np.searchsorted(ends, start, side="right"))])
        yield start, stop
        start = stop
