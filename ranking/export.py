"""Recommendations as Parquet in own ids, so that anyone can score them with a tool of their own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.columns import ITEM, RANK, SCORE, USER
from ranking.order import EMPTY, Groups, top_rows


def top_lists(rows: pa.Table, scores: np.ndarray, groups: Groups, k: int) -> pa.Table:
    """Return the k best rows per group: user_id, item_id, rank (int32 from 1), score (float64)."""
    best = top_rows(scores, groups, k)
    ranks = np.broadcast_to(np.arange(1, k + 1, dtype=np.int32), best.shape)
    kept = best != EMPTY
    chosen = rows.select([USER, ITEM]).take(pa.array(best[kept]))
    return chosen.append_column(RANK, pa.array(ranks[kept])).append_column(SCORE, pa.array(scores[best[kept]]))


def write_lists(lists: pa.Table, path: Path) -> None:
    """Write lists to a Parquet file, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(lists, temporary)
    os.replace(temporary, path)
