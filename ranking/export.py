"""Recommendations as Parquet in own ids, so that anyone can score them with a tool of their own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.columns import ITEM, RANK, SCORE, USER
from ranking.order import EMPTY, Groups, top_rows
from ranking.protocol import Protocol, with_protocol

GROUP_ROWS: Final = 100_000


def top_lists(rows: pa.Table, scores: np.ndarray, groups: Groups, k: int) -> pa.Table:
    """Return the k best rows per group: user_id, item_id, rank (int32 from 1), score (float64)."""
    best = top_rows(scores, groups, k)
    ranks = np.broadcast_to(np.arange(1, k + 1, dtype=np.int32), best.shape)
    kept = best != EMPTY
    chosen = rows.select([USER, ITEM]).take(pa.array(best[kept]))
    return chosen.append_column(RANK, pa.array(ranks[kept])).append_column(SCORE, pa.array(scores[best[kept]]))


def write_judged(tables: Mapping[str, pa.Table], protocol: Protocol, folder: Path) -> None:
    """Write what was judged, a Parquet file each, all of them with the protocol."""
    for name, table in tables.items():
        write_lists(with_protocol(table, protocol), folder / f"{name}.parquet")


def write_lists(lists: pa.Table, path: Path) -> None:
    """Write lists to a Parquet file, atomically."""
    write_batches([lists], path)


def write_batches(batches: Iterable[pa.Table], path: Path) -> int:
    """Write batches of lists to one Parquet file as they come, atomically; return how many rows that were."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    rows = 0
    try:
        with ExitStack() as stack:
            writer = None
            for part in _large_parts(batches):
                writer = writer or stack.enter_context(pq.ParquetWriter(temporary, part.schema))
                writer.write_table(part)
                rows += part.num_rows
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def _large_parts(batches: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same rows in parts of at least `GROUP_ROWS`, the last one smaller."""
    held: list[pa.Table] = []
    for batch in batches:
        held.append(batch)
        if sum(part.num_rows for part in held) >= GROUP_ROWS:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)
