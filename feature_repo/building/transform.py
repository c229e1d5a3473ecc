"""One view's SQL over one calendar: run, checked against the Feast schema, reduced to the rows of change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from feature_repo.building.changes import LOG, create_attributes, create_changes, own_events_sql, touch_pushed
from feature_repo.building.moments import RARE, create_snapshots, register_snapshots
from feature_repo.building.view_sql import ViewSql
from feature_repo.columns import CREATED, ITEM, TIME, USER
from feature_repo.errors import ContractError, did_you_mean
from feature_repo.lake import parquet

if TYPE_CHECKING:
    import duckdb
    from duckdb.sqltypes import DuckDBPyType
    from feast import FeatureView, Field

    from feature_repo.data_set import DataSet

RESULT: Final = "computed"

# What the SQL may return for a declared type; the runner casts it, and a cast that loses a value fails.
_SQL_TYPES: Final = {
    "Int32": "INTEGER",
    "Int64": "BIGINT",
    "Float32": "FLOAT",
    "Float64": "DOUBLE",
    "String": "VARCHAR",
    "Bool": "BOOLEAN",
    "UnixTimestamp": "TIMESTAMP WITH TIME ZONE",
}
_WHOLE: Final = {"tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint"}
_FAMILIES: Final = {
    "INTEGER": _WHOLE,
    "BIGINT": _WHOLE,
    "FLOAT": {"float", "double", "decimal"},
    "DOUBLE": {"float", "double", "decimal"},
    "VARCHAR": {"varchar"},
    "BOOLEAN": {"boolean"},
    "TIMESTAMP WITH TIME ZONE": {"timestamp with time zone"},
}


@dataclass(frozen=True)
class ViewTransform:
    """A view's columns and the SQL that computes them. `keys` and `features` map a name to its SQL type."""

    name: str
    sql: ViewSql
    keys: dict[str, str]
    features: dict[str, str]

    @classmethod
    def of(cls, view: FeatureView, sql_path: Path) -> ViewTransform:
        return cls(view.name, ViewSql.read(sql_path), _types(view.entity_columns), _types(view.features))

    @property
    def columns(self) -> dict[str, str]:
        """The columns of the files, in order, with their SQL types."""
        return _with_times(self.keys, self.features)

    @property
    def is_of_events(self) -> bool:
        """True where the join keys are those of the events, so that it is known which keys an event touches."""
        return set(self.keys) <= {USER, ITEM}

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
        parts: int = 1,
        pushed: Sequence[Path] = (),
        moved: np.ndarray | None = None,
    ) -> None:
        """Fill the temporary table `computed` with the view's rows over the snapshots (int64 microseconds, ascending).

        `connection` sees events, users and items. Rows whose features equal those of the key's row before are left out.
        `bases` are those of the snapshots whose rows exist already: only keys that change at the others have rows then,
        and the rows at a base are there to compare with. What reads no events of other keys is computed in so many
        parts, each with a share of the keys, in a fraction of the memory. `pushed`: files of rows that events pushed
        between snapshots; a row after one of them is a row of change, since not the row before is what it replaces.
        `moved` (pairs, 2), see `Plan`: of the snapshots that take a place only keys have rows that have events between.
        """
        known = snapshots[:0] if bases is None else bases
        self._set_up(connection, data, snapshots)
        own = own_events_sql(connection, list(self.keys), self.sql.windows, snapshots, known, moved)
        between = self._pushed(pushed) if pushed else None
        if between is not None and moved is not None and len(moved):
            touch_pushed(connection, between, list(self.keys), moved)
        with self._explained():
            select = self._opened(connection, own, snapshots, known)
            connection.execute(f"CREATE OR REPLACE TEMP TABLE {RESULT} AS {self._no_rows}")
            for part in range(parts if self.sql.in_parts else 1):
                if self.sql.in_parts and parts > 1:
                    share = f"WHERE hash({_quoted(next(iter(self.keys)))}) % {parts} = {part}"
                    connection.execute(f"CREATE OR REPLACE TEMP VIEW own_events AS {own} {share}")
                connection.execute(f"INSERT INTO {RESULT} {self._rows_of_change(select, between)}")
        self._check_keys(connection)

    def open(self, connection: duckdb.DuckDBPyConnection, data: DataSet, snapshots: np.ndarray) -> str:
        """Make all that the SQL reads, and return a query of the view's rows, to be run again after each `move`."""
        self._set_up(connection, data, snapshots)
        own = own_events_sql(connection, list(self.keys), self.sql.windows, snapshots, snapshots[:0])
        with self._explained():
            return self._rows_of_change(self._opened(connection, own, snapshots, snapshots[:0]))

    def move(self, connection: duckdb.DuckDBPyConnection, snapshots: np.ndarray) -> None:
        """Take what `open` made to other snapshots."""
        (register_snapshots if self.sql.reads(*RARE) else create_snapshots)(connection, snapshots)
        self._create_changes(connection, snapshots, snapshots[:0])

    @staticmethod
    def _set_up(connection: duckdb.DuckDBPyConnection, data: DataSet, snapshots: np.ndarray) -> None:
        create_attributes(connection, data.user_attributes, data.item_attributes)
        register_snapshots(connection, snapshots)

    def _opened(self, connection: duckdb.DuckDBPyConnection, own: str, snapshots: np.ndarray, known: np.ndarray) -> str:
        """Create the views of the file, check its query and return it."""
        connection.execute(f"CREATE OR REPLACE TEMP VIEW own_events AS {own}")
        # A table that a file misspells must not turn out to be a variable of this module.
        connection.execute("SET python_enable_replacements = false")
        connection.execute(f"CREATE TEMP VIEW {LOG} AS SELECT * FROM own_events")
        *preface, select = self._statements(connection)
        for statement in preface:
            connection.execute(statement.replace("CREATE TEMP VIEW", "CREATE OR REPLACE TEMP VIEW", 1))
        self._create_changes(connection, snapshots, known)
        self._check(connection.sql(select))
        return select

    def _create_changes(self, connection: duckdb.DuckDBPyConnection, snapshots: np.ndarray, known: np.ndarray) -> None:
        if self.sql.reads("changes") and len(snapshots):
            keys, windows = list(self.keys), self.sql.windows
            create_changes(connection, keys, windows, snapshots, known, own=self.sql.in_parts)

    @property
    def _no_rows(self) -> str:
        columns = {name: kind for name, kind in self.columns.items() if name != CREATED}
        nulls = ", ".join(f"CAST(NULL AS {kind}) AS {_quoted(name)}" for name, kind in columns.items())
        return f"SELECT {nulls} LIMIT 0"

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

    def _rows_of_change(self, select: str, pushed: str | None = None) -> str:
        columns = [*self.keys, TIME, *self.features]
        cast = ", ".join(f"{_cast(name, self.columns[name])} AS {_quoted(name)}" for name in columns)
        features = ", ".join(map(_quoted, self.features))
        # At one time a pushed row comes first: the row of the snapshot takes its place.
        order = TIME if pushed is None else f"{TIME}, is_pushed DESC"
        line = f"(PARTITION BY {', '.join(map(_quoted, self.keys))} ORDER BY {order})"
        changed = f"row({features}) IS DISTINCT FROM lag(row({features})) OVER {line}"
        if pushed is None:
            return f"SELECT {cast} FROM ({select}) QUALIFY {changed}"
        return (
            f"SELECT {cast} FROM (SELECT *, false AS is_pushed FROM ({select}) UNION ALL BY NAME {pushed}) "
            f"QUALIFY NOT is_pushed AND ({changed} OR lag(is_pushed) OVER {line})"
        )

    def _pushed(self, files: Sequence[Path]) -> str:
        """Return the query of the keys and times of pushed rows."""
        keys = ", ".join(map(_quoted, self.keys))
        return f"SELECT DISTINCT {keys}, {TIME}, true AS is_pushed FROM {parquet([str(path) for path in files])}"

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
            if name in returned and not _fits(returned[name], wanted)
        ]
        if faults:
            raise ContractError(
                self.sql.path,
                expected=f"the columns that {self.sql.path.stem}.py declares",
                got="; ".join(faults),
                fix="Make the SQL and the schema agree.",
            )

    def _check_keys(self, connection: duckdb.DuckDBPyConnection) -> None:
        keys = ", ".join(map(_quoted, self.keys))
        nulls = " OR ".join(f"{_quoted(name)} IS NULL" for name in (*self.keys, TIME))
        row = connection.execute(f"SELECT * FROM {RESULT} WHERE {nulls} LIMIT 1").fetchone()
        if row is None:
            row = connection.execute(
                f"SELECT {keys}, {TIME} FROM {RESULT} GROUP BY ALL HAVING count(*) > 1 LIMIT 1"
            ).fetchone()
        if row is not None:
            raise ContractError(
                self.sql.path,
                expected=f"one row per ({', '.join(self.keys)}) and {TIME}, none of them null",
                got=f"a second or a null one: {', '.join(str(value) for value in row[: len(self.keys) + 1])}",
                fix="Aggregate by the join keys and the snapshot.",
            )


def view_columns(view: FeatureView) -> dict[str, str]:
    """Return the columns of a view's files, in order, with their SQL types."""
    return _with_times(_types(view.entity_columns), _types(view.features))


def _types(fields: Iterable[Field]) -> dict[str, str]:
    return {field.name: sql_type(str(field.dtype)) for field in fields}


def _with_times(keys: dict[str, str], features: dict[str, str]) -> dict[str, str]:
    time = _SQL_TYPES["UnixTimestamp"]
    return {**keys, TIME: time, **features, CREATED: time}


def sql_type(feast_type: str) -> str:
    """Return the SQL type of a Feast type's name.

    >>> sql_type("Array(Int32)")
    'INTEGER[]'
    """
    if feast_type.startswith("Array("):
        return sql_type(feast_type[len("Array(") : -1]) + "[]"
    if feast_type not in _SQL_TYPES:
        raise ContractError(
            f"the type {feast_type}", expected=", ".join(_SQL_TYPES), got=feast_type, fix="Declare one of these types."
        )
    return _SQL_TYPES[feast_type]


def _fits(returned: DuckDBPyType, wanted: str) -> bool:
    if wanted.endswith("[]"):
        return returned.id == "list" and _fits(dict(returned.children)["child"], wanted[:-2])
    return returned.id in _FAMILIES[wanted]


def _cast(name: str, wanted: str) -> str:
    """Cast a column; NaN becomes null, because online it would."""
    cast = f"CAST({_quoted(name)} AS {wanted})"
    return f"nullif({cast}, CAST('NaN' AS {wanted}))" if wanted in ("FLOAT", "DOUBLE") else cast


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
