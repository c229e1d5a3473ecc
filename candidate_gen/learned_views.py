"""What stage one learned, as views of their own: vectors, neighbour lists and histories, stamped with their cut.

    user_vectors, item_vectors   <side>_<source>_vector (list of float32), <side>_<source>_norm, <side>_<source>_bias
                                 (float32); null: nothing learned
    item_neighbours              <source>_neighbours: the items in a history that speak most for this one, best first,
                                 <source>_neighbour_weights (float32); null: none does
    user_history                 history_items (item ids, latest first), history_times, history_weights (float32)

From them a pair that is not in the entity table is scored on demand: a dot product, a similarity to the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from candidate_gen.interactions import Interactions
from candidate_gen.partitions import partition_path, write_partition
from candidate_gen.pipeline import Stage
from candidate_gen.similarity import strongest_into
from candidate_gen.source import Vectors
from feature_repo.columns import CREATED, ITEM, TIME, USER
from feature_repo.errors import ConfigError
from feature_repo.first_stage import (
    HISTORY_ITEMS,
    HISTORY_TIMES,
    HISTORY_WEIGHTS,
    ITEM_NEIGHBOURS,
    USER_HISTORY,
    USER_VECTORS,
    bias_column,
    learned_fields,
    neighbours_column,
    norm_column,
    published,
    vector_column,
    weights_column,
)
from feature_repo.workspace import Workspace

NEIGHBOURS: Final = 50
HISTORY: Final = 50
_TIME_TYPE: Final = pa.timestamp("us", tz="UTC")


def write_learned_views(workspace: Workspace, stage: Stage, users: pa.Array) -> None:
    """Replace the cut's rows of the views: one per requested user (own ids, ascending) and one per known item.

    Raises ConfigError for a source that has not got what its `publish` names.
    """
    log = stage.interactions
    codes = log.encode_users(users)
    integers = pa.types.is_integer(log.item_ids.type)
    for view, fields in learned_fields(workspace.config, "int64" if integers else "string").items():
        key, ids = (USER, users) if view in (USER_VECTORS, USER_HISTORY) else (ITEM, log.item_ids)
        stamp = pa.repeat(pa.scalar(log.as_of, _TIME_TYPE), len(ids))
        learned = _columns(workspace, view, stage, codes)
        columns = [ids, stamp, stamp]
        # A source that was too large for this log has learned nothing.
        columns += [learned.get(name, pa.nulls(len(ids), kind)) for name, kind in fields[:-1]]
        named = [(key, ids.type), (TIME, _TIME_TYPE), (CREATED, _TIME_TYPE), *fields]
        table = pa.table([*columns, stamp], schema=pa.schema(named))
        write_partition(partition_path(workspace, view, log.as_of), [table], table.schema)


def _columns(workspace: Workspace, view: str, stage: Stage, codes: np.ndarray) -> dict[str, pa.Array]:
    if view == ITEM_NEIGHBOURS:
        names = [name for name in published(workspace.config, "neighbours") if name in stage.sources]
        return _neighbour_columns(stage, names)
    if view == USER_HISTORY:
        return _history_columns(stage.interactions, codes)
    columns: dict[str, pa.Array] = {}
    for what in ("vectors", "biases"):
        for name in published(workspace.config, what):
            if name in stage.sources:
                vectors = _vectors(stage, name, what)
                columns |= _side_columns(view, name, vectors, codes, biases=what == "biases")
    return columns


def _vectors(stage: Stage, name: str, what: str) -> Vectors:
    vectors = stage.sources[name].vectors()
    if vectors is None or (what == "biases" and (vectors.user_bias is None or vectors.item_bias is None)):
        raise ConfigError(
            f"rankhouse.yaml, key candidates.sources.{name}.publish",
            expected=f"{what} from {type(stage.sources[name]).__name__}.vectors()",
            got="none",
            fix=f"Remove {what} from `publish`, or return them.",
        )
    return vectors


def _side_columns(view: str, name: str, vectors: Vectors, codes: np.ndarray, *, biases: bool) -> dict[str, pa.Array]:
    user = view == USER_VECTORS
    side = "user" if user else "item"
    if biases:
        bias = vectors.user_bias if user else vectors.item_bias
        values = _rows(bias[:, None], codes)[:, 0] if user else bias
        return {bias_column(side, name): pa.array(values, pa.float32(), from_pandas=True)}
    matrix = _rows(vectors.users, codes) if user else vectors.items
    missing = np.isnan(matrix).any(axis=1)
    offsets = pa.array(np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1])
    norm = np.sqrt((matrix.astype(np.float64) ** 2).sum(axis=1)).astype(np.float32)
    return {
        vector_column(side, name): pa.ListArray.from_arrays(offsets, matrix.ravel(), mask=pa.array(missing)),
        norm_column(side, name): pa.array(norm, mask=missing),
    }


def _rows(matrix: np.ndarray, codes: np.ndarray) -> np.ndarray:
    rows = np.full((len(codes), matrix.shape[1]), np.nan, np.float32)
    rows[codes >= 0] = matrix[codes[codes >= 0]]
    return rows


def _neighbour_columns(stage: Stage, names: list[str]) -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {}
    for name in names:
        similarity = stage.sources[name].similar_items()
        if similarity is None:
            raise ConfigError(
                f"rankhouse.yaml, key candidates.sources.{name}.publish",
                expected=f"weights from {type(stage.sources[name]).__name__}.similar_items()",
                got="none",
                fix="Remove neighbours from `publish`, or return them.",
            )
        nearest = strongest_into(similarity, NEIGHBOURS)
        row = np.repeat(np.arange(nearest.shape[0]), np.diff(nearest.indptr))
        order = np.lexsort((nearest.indices, -nearest.data, row))
        offsets, missing = pa.array(nearest.indptr.astype(np.int32)), pa.array(np.diff(nearest.indptr) == 0)
        ids = stage.interactions.item_ids.take(pa.array(nearest.indices[order]))
        weights = pa.array(nearest.data[order], pa.float32())
        columns[neighbours_column(name)] = pa.ListArray.from_arrays(offsets, ids, mask=missing)
        columns[weights_column(name)] = pa.ListArray.from_arrays(offsets, weights, mask=missing)
    return columns


def _history_columns(log: Interactions, codes: np.ndarray) -> Mapping[str, pa.Array]:
    """The last distinct items with a label per user, latest first; at one time the smaller item first.

    Times are cut to seconds: online a time has no more.
    """
    latest, first = log.latest_targets.events, log.latest_targets.first
    known = np.maximum(codes, 0)
    length = np.where(codes >= 0, np.minimum(np.diff(first)[known], HISTORY), 0)
    offsets = np.concatenate([[0], np.cumsum(length)]).astype(np.int32)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], length)
    events = latest[np.repeat(first[known], length) + place]
    times = pc.floor_temporal(pa.array(log.time[events], _TIME_TYPE), unit="second")
    lists = {
        HISTORY_ITEMS: log.item_ids.take(pa.array(log.item[events])),
        HISTORY_TIMES: times,
        HISTORY_WEIGHTS: pa.array(log.weight[events], pa.float32()),
    }
    return {name: pa.ListArray.from_arrays(pa.array(offsets), values) for name, values in lists.items()}
