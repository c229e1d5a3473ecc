"""The training set: entity-table rows of the cuts, their labels, and features through the feature service alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from feature_repo.columns import ITEM, LABEL, TIME, USER
from feature_repo.config import RankerConfig
from feature_repo.errors import DataError
from feature_repo.periods import Window
from ranking.encoding import is_number, is_text
from ranking.labels import read_labels
from ranking.order import Groups, groups_of, place_in_groups

if TYPE_CHECKING:
    import duckdb

    from feature_repo.workspace import Workspace

_LABELLED: Final = f"""
SELECT candidate.{USER}, candidate.{ITEM}, CAST(coalesce(label.{LABEL}, 0) AS INTEGER) AS {LABEL}
FROM candidate LEFT JOIN label ON label.{USER} = candidate.{USER} AND label.{ITEM} = candidate.{ITEM}
ORDER BY candidate.{USER}, candidate.{ITEM}"""
READ_ROWS: Final = 491_520
"""So many rows are joined with their features at a time; what the join takes beside its answer is bounded by it.

A retrieval hands them out in two slices of `feature_repo.stores.retrieval.SLICE_ROWS`.
"""

_WANTED: Final = f"SELECT count(*) FROM label WHERE {USER} IN (SELECT {USER} FROM candidate)"


@dataclass(frozen=True)
class Spine:
    """Labelled candidates of one cut: user_id, item_id, label, event_timestamp (= cut); sorted by user, then item.

    `lost`: target pairs of these users in the label window that no source proposed.
    """

    rows: pa.Table
    lost: int

    @property
    def labels(self) -> np.ndarray:
        """int32 positions in the gains, 0 for a negative."""
        return self.rows[LABEL].to_numpy()

    @property
    def has_positive(self) -> bool:
        return bool((self.labels > 0).any())

    @property
    def groups(self) -> Groups:
        return user_groups(self.rows)

    def filter(self, kept: np.ndarray) -> Spine:
        return Spine(self.rows.filter(pa.array(kept)), self.lost)


def user_groups(rows: pa.Table) -> Groups:
    """Return the runs of one user in rows of one cut, sorted by user."""
    users = rows[USER].combine_chunks()
    return groups_of(users.dictionary_encode().indices.to_numpy(zero_copy_only=False))


def read_training_spines(
    connection: duckdb.DuckDBPyConnection,
    candidates: Sequence[pa.Table],
    windows: Sequence[Window],
    gains: list[float],
    *,
    before: datetime,
) -> tuple[list[Spine], list[Window]]:
    """Label the candidates of every training cut; return spines and windows of those that teach something.

    A cut none of whose candidates is consumed is left out. Raises DataError, as `read_spine`, where all are.
    """
    pairs = [
        (_labelled(connection, rows, window, gains, before), window)
        for rows, window in zip(candidates, windows, strict=True)
    ]
    learned = [pair for pair in pairs if pair[0].has_positive]
    if not learned:
        raise _nothing_consumed(windows[-1])
    return [spine for spine, _ in learned], [window for _, window in learned]


def read_spine(
    connection: duckdb.DuckDBPyConnection,
    candidates: pa.Table,
    window: Window,
    gains: list[float],
    *,
    before: datetime,
) -> Spine:
    """Label the candidates of the window's cut; `before` as in `read_labels`.

    Raises DataError where no candidate is consumed in the window: there is nothing to learn from.
    """
    spine = _labelled(connection, candidates, window, gains, before)
    if not spine.has_positive:
        raise _nothing_consumed(window)
    return spine


def _labelled(
    connection: duckdb.DuckDBPyConnection, candidates: pa.Table, window: Window, gains: list[float], before: datetime
) -> Spine:
    labels = read_labels(connection, window, gains, before=before)
    connection.register("candidate", candidates.select([USER, ITEM]))
    connection.register("label", labels)
    rows = connection.sql(_LABELLED).to_arrow_table()
    [(wanted,)] = connection.execute(_WANTED).fetchall()
    connection.unregister("candidate")
    connection.unregister("label")
    found = int((rows[LABEL].to_numpy() > 0).sum())
    return Spine(with_cut(rows, window.start), wanted - found)


def _nothing_consumed(window: Window) -> DataError:
    return DataError(
        f"the candidates of {window.start:%Y-%m-%d %H:%M:%S} UTC",
        expected="at least one that is consumed in its label window",
        got="none",
        fix="Move the cut, deepen the sources, or check the target event types.",
    )


def with_cut(rows: pa.Table, cut: datetime) -> pa.Table:
    """Return the rows with event_timestamp = cut, timestamp[us, UTC]."""
    stamp = pa.repeat(pa.scalar(cut, pa.timestamp("us", tz="UTC")), rows.num_rows)
    return rows.drop_columns([TIME] if TIME in rows.column_names else []).append_column(TIME, stamp)


def rows_to_learn(spine: Spine, config: RankerConfig, seed: int) -> np.ndarray:
    """Return bool per row: which rows the ranker is trained on.

    Users without a positive are left out unless the configuration keeps them; users, then negatives, are sampled where
    it bounds them. Every positive of a kept user is kept.
    """
    groups, positive = spine.groups, spine.labels > 0
    rng = np.random.default_rng([config.seed, seed])
    users = np.ones(len(groups.sizes), bool)
    if not config.keep_users_without_positives:
        users = np.bincount(groups.number(), weights=positive, minlength=len(users)) > 0
    if config.users_per_cut is not None and users.sum() > config.users_per_cut:
        chosen = rng.choice(np.flatnonzero(users), config.users_per_cut, replace=False)
        users = np.isin(np.arange(len(users)), chosen)
    kept = users[groups.number()]
    if config.negatives_per_user is None:
        return kept
    place = place_in_groups(groups, positive, rng.random(len(positive)))
    return kept & (positive | (place < config.negatives_per_user))


def read_features(workspace: Workspace, rows: pa.Table, service: str) -> pa.Table:
    """Return the service's features for rows of user_id, item_id, event_timestamp, in row order, without the keys.

    Numbers come as float32, which is what a ranker reads, texts as dictionaries; other columns are left out.
    """
    return pa.concat_tables(feature_parts(workspace, rows, service))


def feature_parts(workspace: Workspace, rows: pa.Table, service: str) -> Iterator[pa.Table]:
    """Yield the same features a part of the rows at a time, at least one table."""
    from feature_repo.store import historical_parts

    keys = rows.select([USER, ITEM, TIME])
    for start in range(0, max(keys.num_rows, 1), READ_ROWS):
        for part in historical_parts(workspace, keys.slice(start, READ_ROWS), service):
            part = compact(part.drop_columns([USER, ITEM, TIME]))
            yield part
            del part  # before the next one is made


def compact(features: pa.Table) -> pa.Table:
    """Return the columns that a ranker can read, in a fourth to a half of the memory."""
    columns = {}
    for field in features.schema:
        if pa.types.is_float32(field.type):
            columns[field.name] = features[field.name]
        elif is_number(field.type):
            # Through float64: a cast that would round an integer is an error in Arrow, a rounded float is not.
            columns[field.name] = features[field.name].cast(_via(field.type)).cast(pa.float64(), safe=False)
            columns[field.name] = columns[field.name].cast(pa.float32(), safe=False)
        elif is_text(field.type):
            columns[field.name] = features[field.name].dictionary_encode()
    return pa.table(columns)


def _via(kind: pa.DataType) -> pa.DataType:
    return pa.int8() if pa.types.is_boolean(kind) else kind
