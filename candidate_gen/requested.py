"""Whose candidates are asked for at a cut. Only rows are chosen here: no source and no feature sees the choice."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from candidate_gen.interactions import microseconds
from feature_repo.columns import TARGET_WEIGHT, TIME, USER
from feature_repo.errors import DataError
from feature_repo.workspace import Workspace

if TYPE_CHECKING:
    import duckdb

Users = Literal["active", "all"] | pa.Array
"""`active`: an event before the cut and a label in its window; at training and validation cuts at most
`candidates.users_per_cut` of them. `all`: everyone known at the cut. Or own ids."""

_ALL = f"""
SELECT {USER} FROM events WHERE {TIME} < $cut UNION SELECT {USER} FROM users WHERE {TIME} <= $cut ORDER BY {USER}"""

_ACTIVE = f"""
SELECT DISTINCT {USER} FROM events WHERE {TARGET_WEIGHT} > 0 AND {TIME} >= $cut AND {TIME} < $stop
  AND {USER} IN (SELECT {USER} FROM events WHERE {TIME} < $cut)
ORDER BY {USER}"""


def requested_users(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, cut: datetime, users: Users
) -> pa.Array:
    """Return own user ids, ascending and distinct. Raises DataError where there are none."""
    if isinstance(users, pa.Array):
        found = pc.unique(users)
        return found.take(pc.sort_indices(found))
    if users == "all":
        table = connection.sql(_ALL, params={"cut": cut}).to_arrow_table()
    else:
        stop = window_end(workspace, cut)
        table = connection.sql(_ACTIVE, params={"cut": cut, "stop": stop}).to_arrow_table()
        table = _some(table, workspace, cut)
    if not table.num_rows:
        raise DataError(
            f"cut {cut:%Y-%m-%d %H:%M:%S} UTC",
            expected="users with an event before it and a label after it" if users == "active" else "users before it",
            got="none",
            fix="Use `--users all`, or move the cut.",
        )
    return table[USER].combine_chunks()


def _some(users: pa.Table, workspace: Workspace, cut: datetime) -> pa.Table:
    """Return as many users as the configuration wants at a cut before the test window, in their order."""
    config, periods = workspace.config.candidates, workspace.periods
    learned = {window.start for window in (*periods.train, periods.validation)}
    if config.users_per_cut is None or cut not in learned or users.num_rows <= config.users_per_cut:
        return users
    rng = np.random.default_rng([config.seed, microseconds(cut)])
    return users.take(pa.array(np.sort(rng.choice(users.num_rows, config.users_per_cut, replace=False))))


def window_end(workspace: Workspace, cut: datetime) -> datetime:
    """Return the end of the cut's label window: the configured split's, else the declared clock."""
    periods = workspace.periods
    windows = (*periods.train, periods.validation, periods.test)
    return next((window.end for window in windows if window.start == cut), workspace.now)
