"""The events of a few users, over and over, as what a view's SQL takes for the whole log.

The connection stays open from push to push; only the users' own events are read again.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from feature_repo.building.snapshots import to_us
from feature_repo.building.transform import ViewTransform
from feature_repo.columns import CREATED, TIME, USER
from feature_repo.data_set import DataSet

if TYPE_CHECKING:
    import duckdb

    from feature_repo.building.view_sql import ViewSql
    from feature_repo.lake import Manifest
    from feature_repo.workspace import Workspace

MOST_FILLS: Final = 1_000
"""Deleted rows stay in DuckDB's memory: after so many fills a log is made anew."""
# DuckDB would rather be asked by a relation, which plans every query twice: that takes longer than copying a few rows.
warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)
_EVERYBODY: Final = re.compile(r"\b(?:from|join)\s+events\b", re.IGNORECASE)


def from_own_events(sql: ViewSql) -> bool:
    """Whether a view's rows of a user follow from the user's own events, at any snapshot."""
    return sql.on_calendar and sql.moments is None and _EVERYBODY.search(sql.code) is None


class UserLog:
    """`events` holds the events of some users alone, of the lake as `manifest` has it and later ones."""

    def __init__(self, workspace: Workspace, manifest: Manifest) -> None:
        self.manifest = manifest
        self._data = DataSet.of(workspace)
        self._kind = pa.int64() if manifest.user_id_type == "int64" else pa.string()
        self._fills = 0
        self._opened: dict[str, tuple[duckdb.DuckDBPyConnection, str]] = {}
        self._connection = workspace.connect()
        # The rows are few: handing them to other threads would take longer.
        self._connection.execute("SET threads = 1")
        self._connection.execute("ALTER VIEW events RENAME TO lake_events")
        self._connection.execute("CREATE TABLE events AS SELECT * FROM lake_events LIMIT 0")

    def spent(self, manifest: Manifest) -> bool:
        """Whether the lake is another one by now, or the log has been filled too often."""
        return manifest != self.manifest or self._fills >= MOST_FILLS

    def fill(self, users: Collection[int | str], fresh: pa.Table) -> None:
        """Let `events` be the log of these users alone, with what the lake does not have yet among `fresh`."""
        self._fills += 1
        self._connection.register("pushed_users", pa.table({USER: pa.array(sorted(users), self._kind)}))
        self._connection.register("posted", fresh)
        self._connection.execute("BEGIN")
        self._connection.execute("DELETE FROM events")
        for source in ("lake_events", "posted"):
            self._connection.execute(
                f"INSERT INTO events BY NAME SELECT * FROM {source} WHERE {USER} IN (FROM pushed_users)"
            )
        self._connection.execute("COMMIT")

    def rows(self, transform: ViewTransform, stamp: datetime) -> pa.Table:
        """Return a view's rows of the users as of `stamp`; its relations stay from one time to the next."""
        snapshots = np.array([to_us(stamp)])
        if transform.name not in self._opened:
            own = self._connection.cursor()
            own.execute("SET TimeZone = 'UTC'")
            # So few rows are read in less time than it takes to find the best way to them.
            own.execute("PRAGMA disable_optimizer")
            self._opened[transform.name] = own, transform.open(own, self._data, snapshots)
        else:
            transform.move(self._opened[transform.name][0], snapshots)
        own, query = self._opened[transform.name]
        return own.execute(f"SELECT *, {TIME} AS {CREATED} FROM ({query})").to_arrow_table()

    def close(self) -> None:
        for own, _ in self._opened.values():
            own.close()
        self._connection.close()
