"""What stays of a view's old files when snapshots are added, move or go: merged with the new rows, not sorted anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.building.layout import Layout
from feature_repo.building.snapshots import DAY
from feature_repo.building.sql_types import quoted
from feature_repo.columns import TIME
from feature_repo.lake import parquet

if TYPE_CHECKING:
    import duckdb

    from feature_repo.building.plan import Plan

BATCH: Final = 1 << 17


@dataclass(frozen=True)
class OldFiles:
    """The files of a view's folder as they were written, and what a plan makes of them."""

    folder: Path
    names: frozenset[str]
    before: Layout
    after: Layout
    plan: Plan

    def touched(self, fresh: Sequence[int]) -> tuple[set[str], set[str]]:
        """Return the files to be written for some days with new rows, and the old ones that these replace."""
        dropped = np.unique(self.plan.dropped // DAY).tolist()
        days = {*fresh, *dropped, *self._resettled.tolist()}
        before, after = set(self.before.files(days)) & self.names, set(self.after.files(days))
        return before | after, before | (after & self.names)

    def merged(
        self, connection: duckdb.DuckDBPyConnection, name: str, keys: Sequence[str], fresh: pa.Table
    ) -> Iterator[pa.Table]:
        """Yield the rows of a file, in order, given its new ones: no row that stays where it is has the time of one."""
        added = self._added(connection, name, keys, fresh)
        if name not in self.names:
            yield added
            return
        times, done = _times(added), 0
        for kept in self._staying(name, added.schema):
            stamps = _times(kept)
            upto = max(done, np.searchsorted(times, stamps[-1])) if len(stamps) else done
            starts = done + np.flatnonzero(np.diff(times[done:upto], prepend=-1))
            passed = 0
            for start, end in pairwise([*starts, upto]):
                place = np.searchsorted(stamps, times[start])
                yield kept.slice(passed, place - passed)
                yield added.slice(start, end - start)
                passed = place
            yield kept.slice(passed)
            done = upto
        yield added.slice(done)

    @property
    def _resettled(self) -> np.ndarray:
        return self.before.days_apart_here_or_there(self.after)

    def _staying(self, name: str, schema: pa.Schema) -> Iterator[pa.Table]:
        with pq.ParquetFile(self.folder / name) as file:
            for batch in file.iter_batches(BATCH, columns=schema.names):
                rows = pa.table(batch).select(schema.names).cast(schema)
                times = _times(rows)
                gone = np.isin(times, self.plan.dropped) | np.isin(times // DAY, self._resettled)
                yield rows.filter(~gone) if gone.any() else rows

    def _added(
        self, connection: duckdb.DuckDBPyConnection, name: str, keys: Sequence[str], fresh: pa.Table
    ) -> pa.Table:
        """Return new rows of a file with those that come from other files or under another stamp, in order."""
        queries = [*self._settling(connection, name), *self._restamped(connection, name, keys)]
        if not queries:
            return fresh
        connection.register("fresh", fresh)
        names = ", ".join(map(quoted, fresh.column_names))
        rows = "".join(f" UNION ALL SELECT {names} FROM ({query})" for query in queries)
        order = ", ".join([TIME, *map(quoted, keys)])
        added = connection.sql(f"SELECT * FROM (SELECT {names} FROM fresh{rows}) ORDER BY {order}").to_arrow_table()
        connection.unregister("fresh")
        return added.cast(fresh.schema)

    def _settling(self, connection: duckdb.DuckDBPyConnection, name: str) -> Iterator[str]:
        """Yield the query of the rows that lay in another file."""
        days = self.after.files(self._resettled.tolist()).get(name, [])
        files = self._paths(days)
        if files:
            _register(connection, "dropped", {TIME: _stamps(self.plan.dropped)})
            _register(connection, "settling", {"day": pa.array(days, pa.int64())})
            yield (
                f"SELECT * FROM {parquet(files)} WHERE {TIME} NOT IN (FROM dropped) "
                f"AND epoch_us({TIME}) // {DAY} IN (FROM settling)"
            )

    def _restamped(self, connection: duckdb.DuckDBPyConnection, name: str, keys: Sequence[str]) -> Iterator[str]:
        """Yield the query of a moved snapshot's rows, of keys that are not in the table `touched`."""
        old, new = self.plan.moved.T
        here = np.isin(new // DAY, self.after.files(np.unique(new // DAY).tolist()).get(name, []))
        files = self._paths(np.unique(old[here] // DAY).tolist())
        if files:
            _register(connection, "moved", {TIME: _stamps(old[here]), "stamp": _stamps(new[here])})
            yield (
                f"SELECT old.* REPLACE (moved.stamp AS {TIME}) FROM {parquet(files)} AS old "
                f"JOIN moved ON moved.{TIME} = old.{TIME} ANTI JOIN touched USING ({', '.join(map(quoted, keys))})"
            )

    def _paths(self, days: Sequence[int]) -> list[str]:
        """Return the old files that hold some days."""
        return sorted(str(self.folder / name) for name in set(self.before.files(days)) & self.names)


def _times(table: pa.Table) -> np.ndarray:
    return table[TIME].cast(pa.int64()).to_numpy()


def _stamps(times: np.ndarray) -> pa.Array:
    return pa.array(times, pa.timestamp("us", tz="UTC"))


def _register(connection: duckdb.DuckDBPyConnection, name: str, columns: dict[str, pa.Array]) -> None:
    connection.register("listed", pa.table(columns))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM listed")
    connection.unregister("listed")
