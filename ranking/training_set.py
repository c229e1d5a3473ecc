"""The training set: entity-table rows of the cuts, their labels, and features through the feature service alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from feature_repo.columns import ITEM, LABEL, TIME, USER
from feature_repo.config import RankerConfig
from feature_repo.errors import DataError
from feature_repo.periods import Window
from ranking.labels import read_labels
from ranking.order import Groups, groups_of

if TYPE_CHECKING:
    import duckdb

    from feature_repo.workspace import Workspace

ROW: Final = "spine_row"

_LABELLED: Final = f"""
SELECT candidate.{USER}, candidate.{ITEM}, CAST(coalesce(label.{LABEL}, 0) AS INTEGER) AS {LABEL}
FROM candidate LEFT JOIN label ON label.{USER} = candidate.{USER} AND label.{ITEM} = candidate.{ITEM}
WHERE $keep_all OR candidate.{USER} IN (SELECT c.{USER} FROM candidate AS c
      JOIN label AS l ON l.{USER} = c.{USER} AND l.{ITEM} = c.{ITEM})
ORDER BY candidate.{USER}, candidate.{ITEM}"""


@dataclass(frozen=True)
class Spine:
    """Labelled candidates of one cut: user_id, item_id, event_timestamp (= cut), label; sorted by user, then item.

    `positives`: labelled pairs of users with candidates in the window; `lost`: those among them no source proposed.
    """

    rows: pa.Table
    positives: int
    lost: int

    @property
    def groups(self) -> Groups:
        return user_groups(self.rows)

    @property
    def labels(self) -> np.ndarray:
        return self.rows[LABEL].to_numpy()


def user_groups(rows: pa.Table) -> Groups:
    """Return the runs of one user in rows of one cut, sorted by user."""
    return groups_of(rows[USER].combine_chunks().dictionary_encode().indices.to_numpy())


def read_spine(
    connection: duckdb.DuckDBPyConnection,
    candidates: pa.Table,
    window: Window,
    config: RankerConfig,
    gains: list[float],
    *,
    before: datetime,
) -> Spine:
    """Label the candidates of the window's cut; `before` as in `read_labels`.

    Users without any positive among their candidates are dropped unless the configuration keeps them; negatives and
    users are sampled, seeded, where it bounds them. Raises DataError where nothing is left to learn from.
    """
    labels = read_labels(connection, window, gains, before=before)
    pairs = candidates.select([USER, ITEM])
    rows = _query(connection, _LABELLED, pairs, labels, {"keep_all": config.keep_users_without_positives})
    found, wanted = _counts(connection, pairs, labels)
    if not found:
        raise DataError(
            f"the candidates of {window.start:%Y-%m-%d %H:%M:%S} UTC",
            expected="at least one that is consumed in its label window",
            got="none",
            fix="Move the cut, deepen the sources, or check the target event types.",
        )
    rng = np.random.default_rng([config.seed, int(window.start.timestamp())])
    rows = _sample_users(rows, config.users_per_cut, rng)
    rows = _sample_negatives(rows, config.negatives_per_user, rng)
    return Spine(with_cut(rows, window.start), wanted, wanted - found)


def with_cut(rows: pa.Table, cut: datetime) -> pa.Table:
    """Return the rows with event_timestamp = cut, timestamp[us, UTC]."""
    stamp = pa.repeat(pa.scalar(cut, pa.timestamp("us", tz="UTC")), rows.num_rows)
    return rows.drop_columns([TIME] if TIME in rows.column_names else []).append_column(TIME, stamp)


def read_features(workspace: Workspace, rows: pa.Table, service: str) -> pa.Table:
    """Return the service's features for rows of user_id, item_id, event_timestamp, in row order, without the keys."""
    from feature_repo.store import historical_features

    spine = rows.select([USER, ITEM, TIME]).append_column(ROW, pa.array(np.arange(rows.num_rows)))
    features = historical_features(workspace, spine, service)
    return features.sort_by(ROW).drop_columns([USER, ITEM, TIME, ROW])


def _query(
    connection: duckdb.DuckDBPyConnection, query: str, candidates: pa.Table, labels: pa.Table, values: dict[str, bool]
) -> pa.Table:
    connection.register("candidate", candidates)
    connection.register("label", labels)
    result = connection.sql(query, params=values).to_arrow_table()
    connection.unregister("candidate")
    connection.unregister("label")
    return result


def _counts(connection: duckdb.DuckDBPyConnection, candidates: pa.Table, labels: pa.Table) -> tuple[int, int]:
    """Return how many labelled pairs are among the candidates, and how many labelled pairs the same users have."""
    counts = _query(
        connection,
        f"SELECT count(*) FILTER (WHERE ({USER}, {ITEM}) IN (SELECT ({USER}, {ITEM}) FROM candidate)), count(*) "
        f"FROM label WHERE {USER} IN (SELECT {USER} FROM candidate)",
        candidates,
        labels,
        {},
    )
    return counts[0][0].as_py(), counts[1][0].as_py()


def _sample_users(rows: pa.Table, most: int | None, rng: np.random.Generator) -> pa.Table:
    groups = user_groups(rows)
    if most is None or len(groups.sizes) <= most:
        return rows
    kept = np.zeros(len(groups.sizes), bool)
    kept[rng.choice(len(groups.sizes), most, replace=False)] = True
    return rows.filter(pa.array(kept[groups.number()]))


def _sample_negatives(rows: pa.Table, most: int | None, rng: np.random.Generator) -> pa.Table:
    """Keep every positive and at most so many negatives per user."""
    if most is None:
        return rows
    groups = user_groups(rows)
    negative = rows[LABEL].to_numpy() == 0
    order = np.lexsort((rng.random(rows.num_rows), ~negative, groups.number()))
    place = np.empty(rows.num_rows, np.int64)
    place[order] = groups.place()
    return rows.filter(pa.array(~negative | (place < most)))
