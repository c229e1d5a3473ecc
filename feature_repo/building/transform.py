"""One view's SQL over one calendar: run, checked against the Feast schema, reduced to the rows of change."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from feature_repo.building.cells import with_cells_sql
from feature_repo.building.changes import LOG, create_attributes, create_changes, own_events_sql, touch_pushed
from feature_repo.building.moments import RARE, create_snapshots, register_snapshots
from feature_repo.building.rows import faulty_row, rows_of_change, with_pushed
from feature_repo.building.running import RUNNING, STEPS, create_running_totals
from feature_repo.building.shares import WHOLE, Share
from feature_repo.building.sql_types import cast, fits, quoted, types_of, with_times
from feature_repo.building.view_sql import ViewSql
from feature_repo.columns import ITEM, TIME, USER
from feature_repo.errors import ContractError, did_you_mean
from feature_repo.lake import parquet

if TYPE_CHECKING:
    import duckdb
    from feast import FeatureView

    from feature_repo.data_set import DataSet

RESULT: Final = "computed"


@dataclass(frozen=True)
class ViewTransform:
    """A view's columns and the SQL that computes them. `keys` and `features` map a name to its SQL type."""

    name: str
    sql: ViewSql
    keys: dict[str, str]
    features: dict[str, str]

    @classmethod
    def of(cls, view: FeatureView, sql_path: Path) -> ViewTransform:
        return cls(view.name, ViewSql.read(sql_path), types_of(view.entity_columns), types_of(view.features))

    @property
    def columns(self) -> dict[str, str]:
        """The columns of the files, in order, with their SQL types."""
        return with_times(self.keys, self.features)

    @property
    def is_of_events(self) -> bool:
        """True where the join keys are those of the events, so that it is known which keys an event touches."""
        return set(self.keys) <= {USER, ITEM}

    @property
    def has_lists(self) -> bool:
        return any(sql_type.endswith("[]") for sql_type in self.features.values())

    @property
    def schema_digest(self) -> str:
        from hashlib import sha256

        return sha256(repr(list(self.columns.items())).encode()).hexdigest()

    def compute(
        self,
        connection: duckdb.DuckDBPyConnection,
        data: DataSet,
        snapshots: np.ndarray,
        bases: np.ndarray | None = None,
        shares: Sequence[Share] = WHOLE,
        pushed: Sequence[Path] = (),
        moved: np.ndarray | None = None,
    ) -> None:
        """Fill the temporary table `computed` with what `rows` yields."""
        tables = list(self.rows(connection, data, snapshots, bases, shares, pushed, moved))
        connection.register("yielded", pa.concat_tables(tables))
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {RESULT} AS SELECT * FROM yielded")
        connection.unregister("yielded")

    def rows(
        self,
        connection: duckdb.DuckDBPyConnection,
        data: DataSet,
        snapshots: np.ndarray,
        bases: np.ndarray | None = None,
        shares: Sequence[Share] = WHOLE,
        pushed: Sequence[Path] = (),
        moved: np.ndarray | None = None,
    ) -> Iterator[pa.Table]:
        """Yield the view's rows over the snapshots (int64 microseconds, ascending), a table per share of the keys.

        `connection` sees events, users and items. Tables are sorted by time, then keys; rows whose features equal those
        of the key's row before are left out. `bases` are those of the snapshots whose rows exist already: only keys
        that change at the others have rows then, and the rows at a base are there to compare with. What reads no
        events of other keys is computed share by share, in a fraction of the memory. `pushed`: files of rows that
        events pushed between snapshots; a row after one of them is a row of change, since not the row before is what
        it replaces. `moved` (pairs, 2), see `Plan`: of the snapshots that take a place only keys have rows that have
        events between.
        """
        known = snapshots[:0] if bases is None else bases
        self._set_up(connection, data, snapshots)
        own = own_events_sql(connection, list(self.keys), self.sql.windows, snapshots, known, moved)
        between = self._pushed(connection, pushed)
        if between is not None and moved is not None and len(moved):
            connection.register("pushed_rows", between)
            touch_pushed(connection, "FROM pushed_rows", list(self.keys), moved)
            connection.unregister("pushed_rows")
        with self._explained():
            select = self._opened(connection, own, snapshots, known, repeated=len(shares) > 1)
            for query in self._by_share(connection, self._cast(select), shares, snapshots):
                table = connection.sql(query).to_arrow_table()
                yield self._rows_of_change(table, between)

    def _by_share(
        self, connection: duckdb.DuckDBPyConnection, select: str, shares: Sequence[Share], snapshots: np.ndarray
    ) -> Iterator[str]:
        """Yield the query of each share's rows, to be run before the next one is asked for."""
        if len(shares) == 1:
            yield select
        elif self.sql.in_parts:
            for share in shares:
                self._create_own_events(connection, share.of(share.relation), snapshots)
                self._create_totals(connection)
                yield select
        else:
            connection.execute(f"CREATE TEMP TABLE every_row AS {select}")
            for share in shares:
                yield share.of("every_row")

    def open(self, connection: duckdb.DuckDBPyConnection, data: DataSet, snapshots: np.ndarray) -> str:
        """Make all that the SQL reads, and return a query of the view's rows, to be run again after each `move`."""
        self._set_up(connection, data, snapshots)
        own = own_events_sql(connection, list(self.keys), self.sql.windows, snapshots, snapshots[:0])
        with self._explained():
            return self._cast(self._opened(connection, own, snapshots, snapshots[:0]))

    def move(self, connection: duckdb.DuckDBPyConnection, snapshots: np.ndarray) -> None:
        """Take what `open` made to other snapshots."""
        (register_snapshots if self.sql.reads(*RARE) else create_snapshots)(connection, snapshots)
        if self.sql.reads("cell"):
            own = own_events_sql(connection, list(self.keys), self.sql.windows, snapshots, snapshots[:0])
            self._create_own_events(connection, own, snapshots)
        self._create_changes(connection, snapshots, snapshots[:0])
        self._create_totals(connection)

    @staticmethod
    def _set_up(connection: duckdb.DuckDBPyConnection, data: DataSet, snapshots: np.ndarray) -> None:
        create_attributes(connection, data.user_attributes, data.item_attributes)
        register_snapshots(connection, snapshots)

    def _opened(
        self,
        connection: duckdb.DuckDBPyConnection,
        own: str,
        snapshots: np.ndarray,
        known: np.ndarray,
        *,
        repeated: bool = False,
    ) -> str:
        """Create the views of the file, check its query and return it.

        Where the query is to be `repeated` for other events of `own_events`, views that read none of them are computed
        just once.
        """
        once = repeated and self.sql.in_parts
        # What comes before the first share needs its columns, not its rows.
        self._create_own_events(connection, f"FROM ({own}) LIMIT 0" if once else own, snapshots)
        # A table that a file misspells must not turn out to be a variable of this module.
        connection.execute("SET python_enable_replacements = false")
        connection.execute(f"CREATE TEMP VIEW {LOG} AS SELECT * FROM own_events")
        *preface, select = self._statements(connection)
        of_log, of_changes = self.sql.split(preface)
        tables = self.sql.apart(of_log) if once else set()
        self._create_views(connection, of_log, tables)
        self._create_changes(connection, snapshots, known)
        self._create_views(connection, of_changes)
        self._create_totals(connection)
        self._check(connection.sql(select))
        return select

    @staticmethod
    def _create_views(
        connection: duckdb.DuckDBPyConnection, statements: Sequence[str], tables: Collection[int] = ()
    ) -> None:
        """Create a file's views; those at some places as tables, which are computed now and once."""
        for place, statement in enumerate(statements):
            kind = "TABLE" if place in tables else "VIEW"
            connection.execute(statement.replace("CREATE TEMP VIEW", f"CREATE OR REPLACE TEMP {kind}", 1))

    def _create_totals(self, connection: duckdb.DuckDBPyConnection) -> None:
        if not self.sql.reads(RUNNING):
            return
        try:
            create_running_totals(connection)
        except ValueError as error:
            raise ContractError(
                self.sql.path, expected=f"a view {STEPS} to add up", got=str(error), fix="Mend the file."
            ) from error

    def _create_own_events(self, connection: duckdb.DuckDBPyConnection, events: str, snapshots: np.ndarray) -> None:
        if self.sql.reads("cell"):
            events = with_cells_sql(connection, events, self.sql.windows, snapshots)
        connection.execute(f"CREATE OR REPLACE TEMP VIEW own_events AS {events}")

    def _create_changes(self, connection: duckdb.DuckDBPyConnection, snapshots: np.ndarray, known: np.ndarray) -> None:
        if self.sql.reads("changes") and len(snapshots):
            keys, windows = list(self.keys), self.sql.windows
            create_changes(connection, keys, windows, snapshots, known, own=self.sql.in_parts)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what DuckDB says about the file into a ContractError."""
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            raise ContractError(
                self.sql.path,
                expected="SQL that runs over the log",
                got=" ".join(str(error).split()),
                fix="Mend the file.",
            ) from error

    def _cast(self, select: str) -> str:
        names = (*self.keys, TIME, *self.features)
        columns = ", ".join(f"{cast(name, self.columns[name])} AS {quoted(name)}" for name in names)
        return f"SELECT {columns} FROM ({select})"

    def _rows_of_change(self, table: pa.Table, pushed: pa.Table | None) -> pa.Table:
        table = table.combine_chunks()
        fault = faulty_row(table, list(self.keys))
        if fault is not None:
            raise self._second_row(fault)
        if pushed is not None:
            table = with_pushed(table, pushed)
        return rows_of_change(table, list(self.keys), list(self.features))

    def _pushed(self, connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> pa.Table | None:
        """Read the keys and times of pushed rows."""
        if not files:
            return None
        keys = ", ".join(map(quoted, self.keys))
        source = parquet([str(path) for path in files])
        return connection.sql(f"SELECT DISTINCT {keys}, {TIME} FROM {source}").to_arrow_table()

    def _statements(self, connection: duckdb.DuckDBPyConnection) -> list[str]:
        statements = [statement.query.strip().rstrip(";") for statement in connection.extract_statements(self.sql.code)]
        if statements and all(text.upper().startswith("CREATE TEMP VIEW") for text in statements[:-1]):
            return statements
        raise ContractError(
            self.sql.path,
            expected="CREATE TEMP VIEW statements and then one query",
            got=f"{len(statements)} statements",
            fix="Mend the file.",
        )

    def _check(self, relation: duckdb.DuckDBPyRelation) -> None:
        """Raise ContractError with the differences where the SQL does not return what the schema declares."""
        returned = dict(zip(relation.columns, relation.types, strict=True))
        declared = {**self.keys, TIME: self.columns[TIME], **self.features}
        faults = [f"{name} is missing{did_you_mean(name, returned)}" for name in declared if name not in returned]
        faults += [f"{name} is not declared{did_you_mean(name, declared)}" for name in returned if name not in declared]
        faults += [
            f"{name} is {str(returned[name]).lower()}, declared as {wanted.lower()}"
            for name, wanted in declared.items()
            if name in returned and not fits(returned[name], wanted)
        ]
        if faults:
            raise ContractError(
                self.sql.path,
                expected=f"the columns that {self.sql.path.stem}.py declares",
                got="; ".join(faults),
                fix="Make the SQL and the schema agree.",
            )

    def _second_row(self, row: tuple) -> ContractError:
        return ContractError(
            self.sql.path,
            expected=f"one row per ({', '.join(self.keys)}) and {TIME}, none of them null",
            got=f"a second or a null one: {', '.join(str(value) for value in row)}",
            fix="Aggregate by the join keys and the snapshot.",
        )
