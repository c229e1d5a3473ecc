"""Whose candidates are asked for at a cut. Only rows are chosen here: no source and no feature sees the choice."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.columns import TARGET_WEIGHT, TIME, USER
from feature_repo.errors import DataError
from feature_repo.workspace import Workspace

if TYPE_CHECKING:
    import duckdb

Users = Literal["active", "all"] | pa.Array
"""`active`: an event before the cut and a label in its window. `all`: everyone known at the cut. Or own ids."""

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
    if not table.num_rows:
        raise DataError(
            f"cut {cut:%Y-%m-%d %H:%M:%S} UTC",
            expected="users with an event before it and a label after it" if users == "active" else "users before it",
            got="none",
            fix="Use `--users all`, or move the cut.",
        )
    return table[USER].combine_chunks()


def window_end(workspace: Workspace, cut: datetime) -> datetime:
    """Return the end of the cut's label window: the configured split's, else the declared clock."""
    periods = workspace.periods
    windows = (*periods.train, periods.validation, periods.test)
    return next((window.end for window in windows if window.start == cut), workspace.now)
