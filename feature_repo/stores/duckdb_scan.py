"""Sources behind a scheme (s3://, gs://, https:// ...), read by DuckDB, and SQL over the lake.

DuckDB prunes partitions and row groups by the bounds on its own. Both passes of the join run the same query, so the
rows keep their numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa

from feature_repo.errors import DataError
from feature_repo.stores.times import finest_unit, is_time, moment

if TYPE_CHECKING:
    from feature_repo.stores.settings import Settings

BATCH_ROWS = 1 << 17


def connect(settings: Settings) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB in UTC within the store's bounds; relative paths start at the repo."""
    spill = settings.spill_directory / f"rankhouse-duckdb-{os.getpid()}"  # DuckDB makes it when it must, and removes it
    config: dict[str, str | int] = {"threads": settings.threads, "temp_directory": str(spill)}
    if settings.memory_limit:
        config["memory_limit"] = settings.memory_limit
    connection = duckdb.connect(config=config)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET python_enable_replacements = false")
    connection.execute(f"SET file_search_path = {literal(str(settings.repo_path))}")
    return connection


@dataclass(frozen=True)
class DuckDBScan:
    """Any Parquet that DuckDB can read, in insertion order."""

    path: str
    settings: Settings
    endpoint: str | None = None
    conditions: tuple[str, ...] = ()

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        connection = connect(self.settings)
        connection.execute("SET preserve_insertion_order = true")
        if self.endpoint:
            scheme, _, host = self.endpoint.rpartition("://")
            connection.execute(f"SET s3_endpoint = {literal(host)}")
            connection.execute(f"SET s3_use_ssl = {'false' if scheme == 'http' else 'true'}")
        return connection

    @property
    def table(self) -> str:
        return f"read_parquet({literal(self.path)}, union_by_name = true)"

    @cached_property
    def schema(self) -> pa.Schema:
        return self._query(f"SELECT * FROM {self.table} LIMIT 0").to_arrow_table().schema.remove_metadata()

    @cached_property
    def rows(self) -> int:
        where = f" WHERE {' AND '.join(self.conditions)}" if self.conditions else ""
        return self._query(f"SELECT count(*) FROM {self.table}{where}").fetchall()[0][0]

    def prune(self, bounds: Mapping[str, tuple[int, int]]) -> DuckDBScan:
        conditions = []
        for name, (low, high) in bounds.items():
            field = self.schema.field(name)
            conditions.append(f"{identifier(name)} BETWEEN {_value(field, low)} AND {_value(field, high)}")
        return DuckDBScan(self.path, self.settings, self.endpoint, (*self.conditions, *conditions))

    def batches(self, columns: Sequence[str], wanted: np.ndarray | None = None) -> Iterator[tuple[int, pa.Table]]:
        where = f" WHERE {' AND '.join(self.conditions)}" if self.conditions else ""
        names = ", ".join(map(identifier, columns))
        schema = pa.schema([self.schema.field(name) for name in columns])
        start = 0
        for batch in self._query(f"SELECT {names} FROM {self.table}{where}").to_arrow_reader(BATCH_ROWS):
            table = pa.Table.from_batches([batch]).cast(schema)
            stop = start + table.num_rows
            if wanted is None:
                yield start, table
            else:
                first, last = np.searchsorted(wanted, [start, stop])
                if first < last:
                    yield int(first), table.take(pa.array(wanted[first:last] - start))
            start = stop

    def _query(self, sql: str) -> duckdb.DuckDBPyRelation:
        try:
            return self._connection.sql(sql)
        except duckdb.Error as error:
            raise DataError(
                self.path, expected="Parquet that DuckDB can read", got=str(error), fix="Check path and access."
            ) from error


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _value(field: pa.Field, bound: int) -> str:
    """Write a bound as SQL; bounds beyond DuckDB's calendar are as good as infinite."""
    if not is_time(field.type):
        return str(bound)
    try:
        return f"TIMESTAMPTZ {literal(moment(bound, finest_unit(field.type)).isoformat())}"
    except OverflowError:
        return "TIMESTAMPTZ '-infinity'" if bound < 0 else "TIMESTAMPTZ 'infinity'"
