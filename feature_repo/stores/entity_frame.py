"""The entity frame of a request as one Arrow table: from pandas, Arrow, SQL over the lake, or from dates alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa
from feast.errors import EntityTimestampInferenceException, FeastEntityDFMissingColumnsError
from feast.infra.registry.base_registry import BaseRegistry

from feature_repo.columns import TIME
from feature_repo.errors import DataError
from feature_repo.stores.duckdb_scan import connect, identifier
from feature_repo.stores.scans import open_scan, parquet_sql, source_sql
from feature_repo.stores.settings import Settings
from feature_repo.stores.times import as_timestamps, finest_unit, tick, to_ticks
from feature_repo.stores.view_spec import ViewSpec, file_source

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Entities:
    """The rows to join features to, and which column is their time (timestamps in UTC)."""

    table: pa.Table
    time: str

    @cached_property
    def time_range(self) -> tuple[datetime | None, datetime | None]:
        import pyarrow.compute as pc

        ends = pc.min_max(self.table[self.time].cast(pa.timestamp("us", "UTC"), safe=False))
        return ends["min"].as_py(), ends["max"].as_py()


def from_frame(frame: pd.DataFrame | pa.Table | pa.RecordBatch | pa.RecordBatchReader) -> Entities:
    """Take a DataFrame (its index is left out) or an Arrow table; all columns but the time stay as they are.

    Raises Feast's EntityTimestampInferenceException where no column is plainly the time, DataError where a column
    has no Arrow type.
    """
    if isinstance(frame, pa.RecordBatch):
        frame = pa.Table.from_batches([frame])
    elif isinstance(frame, pa.RecordBatchReader):
        frame = frame.read_all()
    table = frame if isinstance(frame, pa.Table) else _from_pandas(frame)
    time = _time_column(table)
    place = table.column_names.index(time)
    column = table.column(place)
    chunks = [as_timestamps(chunk, f"entity frame, column {time}") for chunk in column.chunks]
    unit = chunks[0].type.unit if chunks else "us"
    stamped = pa.chunked_array(chunks, pa.timestamp(unit, "UTC"))
    return Entities(table.set_column(place, time, stamped), time)


def from_sql(query: str, settings: Settings, registry: BaseRegistry, project: str) -> Entities:
    """Run a query over the lake.

    It may read `events`, `users` and `items` of the lake, every feature view by its name (all its stored rows), and
    files by path, relative ones from the repo. Raises DataError where DuckDB refuses it.
    """
    import duckdb

    with connect(settings) as connection:
        for name, table in mentioned_tables(query, settings, registry, project).items():
            connection.execute(f"CREATE VIEW {identifier(name)} AS SELECT * FROM {table}")
        try:
            table = connection.sql(query).to_arrow_table()
        except duckdb.Error as error:
            raise DataError(
                "entity frame, SQL", expected="a query that DuckDB can run", got=str(error), fix="Correct it."
            ) from error
    return from_frame(table)


def from_dates(specs: Sequence[ViewSpec], settings: Settings, start: datetime, end: datetime) -> Entities:
    """Take every key that the views have a row of within [start, end], as of `end`.

    Views with other keys leave theirs null, as Feast's Spark store does.
    """
    tables = [_keys_between(spec, settings, start, end) for spec in specs if spec.keys]
    if tables:
        table = pa.concat_tables(tables, promote_options="permissive")
        table = table.group_by(table.column_names, use_threads=False).aggregate([])
    else:
        table = pa.table({"__row": [0]})
    stamp = pa.repeat(pa.scalar(end, pa.timestamp("us", "UTC")), table.num_rows)
    table = table.append_column(TIME, stamp)
    return Entities(table if tables else table.select([TIME]), TIME)


def require_columns(table: pa.Table, needed: Sequence[str]) -> None:
    """Raise Feast's FeastEntityDFMissingColumnsError where the frame lacks a join key or request data."""
    missing = set(needed) - set(table.column_names)
    if missing:
        raise FeastEntityDFMissingColumnsError(set(needed), missing)


def _from_pandas(frame: pd.DataFrame) -> pa.Table:
    import pandas as pd

    if TIME in frame.columns and not pd.api.types.is_datetime64_any_dtype(frame[TIME]):
        frame = frame.assign(**{TIME: pd.to_datetime(frame[TIME], utc=True)})
    try:
        return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(
            "entity frame", expected="columns of one type each", got=str(error), fix="Cast the column."
        ) from error


def _time_column(table: pa.Table) -> str:
    if TIME in table.column_names:
        return TIME
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if len(times) != 1:
        raise EntityTimestampInferenceException(TIME)
    return times[0]


def mentioned_tables(query: str, settings: Settings, registry: BaseRegistry, project: str) -> dict[str, str]:
    """Return the lake's tables and the feature views that a query mentions: name and SQL."""
    from feature_repo.data_dir import data_dir
    from feature_repo.lake import TABLES, Lake

    words = set(re.findall(r"\w+", query))
    found: dict[str, str] = {}
    lake = Lake(data_dir(settings.repo_path))
    if words & set(TABLES) and lake.exists():
        found = {name: parquet_sql(lake.paths(name)) for name in TABLES if name in words and lake.paths(name)}
    for view in registry.list_feature_views(project, allow_cache=True):
        if view.name in words:
            found[view.name] = source_sql(file_source(view.batch_source, view.name), settings)
    return found


def _keys_between(spec: ViewSpec, settings: Settings, start: datetime, end: datetime) -> pa.Table:
    scan = open_scan(spec.source, settings, spec.declared)
    spec = replace(spec, features=()).in_source(scan.schema)
    unit = finest_unit(scan.schema.field(spec.time).type)
    low, high = tick(start, unit), tick(end, unit)
    columns = [key for key, _ in spec.keys]
    names = [name for _, name in spec.keys]
    parts = []
    for _, table in scan.prune({spec.time: (low, high)}).batches([*columns, spec.time]):
        ticks = to_ticks(table[spec.time], unit, f"view {spec.name}, column {spec.time}")
        inside = table.filter(pa.array((ticks >= low) & (ticks <= high))).select(columns).rename_columns(names)
        parts.append(inside.group_by(names, use_threads=False).aggregate([]))
    schema = pa.schema([pa.field(name, scan.schema.field(key).type) for key, name in spec.keys])
    table = pa.concat_tables(parts) if parts else schema.empty_table()
    for name in names:
        table = table.filter(table[name].is_valid())
    return table.group_by(names, use_threads=False).aggregate([])
