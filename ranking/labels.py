"""What a ranker is trained to predict: the target events of a window, one label per pair."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

import pyarrow as pa

from feature_repo.columns import ITEM, LABEL, TARGET_WEIGHT, TIME, USER
from feature_repo.config import Roles
from feature_repo.errors import DataError
from feature_repo.periods import Periods, Window

if TYPE_CHECKING:
    import duckdb

Labels = Literal["binary", "graded"]
_LAST: Final = "last_label"


def label_gains(roles: Roles, labels: Labels) -> list[float]:
    """Return the gain of each label: 0 for no event, then one per distinct weight in ascending order.

    >>> label_gains(Roles(targets={"purchase": 1.0, "click": 0.2}, consuming=[]), "graded")
    [0.0, 0.2, 1.0]
    """
    weights = sorted(set(roles.targets.values())) if labels == "graded" else [1.0]
    return [0.0, *weights]


def read_labels(
    connection: duckdb.DuckDBPyConnection, window: Window, gains: list[float], *, before: datetime
) -> pa.Table:
    """Return user_id, item_id, label (int32 position in `gains`, from 1) for every pair with a target event.

    A pair takes its weightiest event. `before` is where the next period begins: a label at or after it would leak, so
    a window that reaches it raises DataError.
    """
    if window.end > before:
        raise _leak(window, before, window.end)
    table = connection.sql(
        f"SELECT {USER}, {ITEM}, max({TARGET_WEIGHT}) AS weight, max({TIME}) AS {_LAST} FROM events "
        f"WHERE {TIME} >= $start AND {TIME} < $end AND {TARGET_WEIGHT} > 0 "
        f"GROUP BY {USER}, {ITEM} ORDER BY {USER}, {ITEM}",
        params={"start": window.start, "end": window.end},
    ).to_arrow_table()
    return _graded(table, gains)


def training_windows(periods: Periods, *, with_validation: bool) -> tuple[tuple[Window, ...], datetime]:
    """Return the label windows to train on and the time before which their labels must end.

    With validation, [Tv, T2) is one more window, and windows that ended at Tv keep their end: only the last step before
    the test window, when nothing is chosen any more, may ask for it.
    """
    if with_validation:
        return (*periods.train, periods.validation), periods.test.start
    return periods.train, periods.validation.start


def _graded(table: pa.Table, gains: list[float]) -> pa.Table:
    import numpy as np

    weights = table["weight"].to_numpy()
    labels = np.searchsorted(gains, weights) if len(gains) > 2 else np.ones(len(weights))
    return table.select([USER, ITEM]).append_column(LABEL, pa.array(labels.astype(np.int32)))


def _leak(window: Window, before: datetime, latest: datetime) -> DataError:
    return DataError(
        f"the label window from {window.start:%Y-%m-%d %H:%M:%S} UTC",
        expected=f"labels before {before:%Y-%m-%d %H:%M:%S} UTC, where the next period begins",
        got=f"labels up to {latest:%Y-%m-%d %H:%M:%S} UTC",
        fix="Move the cuts under `split` in rankhouse.yaml apart, or shorten `horizon_days`.",
    )
