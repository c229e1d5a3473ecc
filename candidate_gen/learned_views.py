"""What stage one learned, as views of their own: vectors, neighbour lists and histories, stamped with their cut.

    user_vectors, item_vectors   <source>_vector (list of float32), <source>_norm (float32); null: nothing learned
    item_neighbours              <source>_neighbours (item ids, most similar first), <source>_weights (float32)
    user_history                 history_items (item ids, latest first), history_times, history_weights (float32)

From them a pair that is not in the entity table is scored on demand: a dot product, a similarity to the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
from scipy import sparse

from candidate_gen.interactions import Interactions
from candidate_gen.partitions import partition_path, write_partition
from candidate_gen.pipeline import Stage
from candidate_gen.similarity import keep_top
from feature_repo.columns import CREATED, CUT, ITEM, TIME, USER
from feature_repo.workspace import Workspace

USER_VECTORS: Final = "user_vectors"
ITEM_VECTORS: Final = "item_vectors"
ITEM_NEIGHBOURS: Final = "item_neighbours"
USER_HISTORY: Final = "user_history"
LEARNED_VIEWS: Final = (USER_VECTORS, ITEM_VECTORS, ITEM_NEIGHBOURS, USER_HISTORY)

NEIGHBOURS: Final = 50
HISTORY: Final = 50
_TIME_TYPE: Final = pa.timestamp("us", tz="UTC")


def write_learned_views(workspace: Workspace, stage: Stage, users: pa.Array) -> None:
    """Replace the cut's rows of the four views: one per requested user (own ids, ascending) and one per known item."""
    log = stage.interactions
    codes = log.encode_users(users)
    vectors = {name: found for name, source in stage.sources.items() if (found := source.vectors()) is not None}
    similar = {name: found for name, source in stage.sources.items() if (found := source.similar_items()) is not None}
    columns = {
        USER_VECTORS: _vector_columns({name: _rows(pair.users, codes) for name, pair in vectors.items()}),
        ITEM_VECTORS: _vector_columns({name: pair.items for name, pair in vectors.items()}),
        ITEM_NEIGHBOURS: _neighbour_columns(similar, log.item_ids),
        USER_HISTORY: _history_columns(log, codes),
    }
    for view, values in columns.items():
        key, ids = (USER, users) if view.startswith(USER.removesuffix("_id")) else (ITEM, log.item_ids)
        stamp = pa.repeat(pa.scalar(log.as_of, _TIME_TYPE), len(ids))
        table = pa.table({key: ids, TIME: stamp, CREATED: stamp, CUT: stamp, **values})
        write_partition(partition_path(workspace, view, log.as_of), [table], table.schema)


def _rows(matrix: np.ndarray, codes: np.ndarray) -> np.ndarray:
    rows = np.full((len(codes), matrix.shape[1]), np.nan, np.float32)
    rows[codes >= 0] = matrix[codes[codes >= 0]]
    return rows


def _vector_columns(vectors: Mapping[str, np.ndarray]) -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {}
    for name, matrix in vectors.items():
        missing = np.isnan(matrix).any(axis=1)
        offsets = pa.array(np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1])
        columns[f"{name}_vector"] = pa.ListArray.from_arrays(offsets, matrix.ravel(), mask=pa.array(missing))
        norm = np.sqrt((matrix.astype(np.float64) ** 2).sum(axis=1)).astype(np.float32)
        columns[f"{name}_norm"] = pa.array(norm, mask=missing)
    return columns


def _neighbour_columns(similar: Mapping[str, sparse.csr_array], items: pa.Array) -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {}
    for name, matrix in similar.items():
        others = sparse.csr_array(matrix - sparse.diags_array(matrix.diagonal()))
        nearest = keep_top(others, NEIGHBOURS)
        row = np.repeat(np.arange(nearest.shape[0]), np.diff(nearest.indptr))
        order = np.lexsort((nearest.indices, -nearest.data, row))
        offsets = pa.array(nearest.indptr.astype(np.int32))
        ids = items.take(pa.array(nearest.indices[order]))
        columns[f"{name}_neighbours"] = pa.ListArray.from_arrays(offsets, ids)
        columns[f"{name}_weights"] = pa.ListArray.from_arrays(offsets, pa.array(nearest.data[order], pa.float32()))
    return columns


def _history_columns(log: Interactions, codes: np.ndarray) -> dict[str, pa.Array]:
    """The last distinct items with a label per user, latest first; at one time the smaller item first."""
    liked = np.flatnonzero(log.weight > 0)[::-1]
    pair = log.user[liked].astype(np.int64) * log.shape[1] + log.item[liked]
    latest = liked[np.unique(pair, return_index=True)[1]]
    latest = latest[np.lexsort((log.item[latest], -log.time[latest], log.user[latest]))]
    first = np.searchsorted(log.user[latest], np.arange(log.shape[0] + 1))
    known = np.maximum(codes, 0)
    length = np.where(codes >= 0, np.minimum(np.diff(first)[known], HISTORY), 0)
    offsets = np.concatenate([[0], np.cumsum(length)]).astype(np.int32)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], length)
    events = latest[np.repeat(first[known], length) + place]
    lists = {
        "history_items": log.item_ids.take(pa.array(log.item[events])),
        "history_times": pa.array(log.time[events], _TIME_TYPE),
        "history_weights": pa.array(log.weight[events], pa.float32()),
    }
    return {name: pa.ListArray.from_arrays(pa.array(offsets), values) for name, values in lists.items()}
