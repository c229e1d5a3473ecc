"""Appending staged rows to the lake: only what is new, nothing rewritten, in effect once the manifest is replaced."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.columns import EVENT_COLUMNS, EVENT_TYPE, ITEM, TIME, USER, VALUE
from feature_repo.errors import ContractError
from feature_repo.lake import ALWAYS, IdType, Lake, Load, Manifest, parquet
from feature_repo.lake import quote as literal
from feature_repo.loading.compatible import merge
from feature_repo.loading.dataset import Dataset
from feature_repo.loading.staging import staged

if TYPE_CHECKING:
    import duckdb

ROW_GROUP = 122_880
_KEYS = {"users": USER, "items": ITEM}
_ITEM_COLUMNS = {"title": "VARCHAR", "categories": "VARCHAR[]", "released_at": "TIMESTAMPTZ"}
_KIND_TYPES = {"category": "VARCHAR", "number": "DOUBLE", "text": "VARCHAR"}


@dataclass(frozen=True)
class Appended:
    """What a load added: rows per table (all zero: nothing was written) and the manifest that is current now."""

    rows: dict[str, int]
    manifest: Manifest


def append(
    connection: duckdb.DuckDBPyConnection,
    dataset: Dataset,
    id_types: Mapping[str, IdType],
    lake: Lake,
    clock: datetime | None,
    before: Manifest | None,
) -> Appended:
    """Write the staged rows that the lake does not have and commit them; `before` is the manifest that was checked.

    `clock` is the declared clock (None: the end of the log): a changed attribute without a time of its own is stamped
    with it. Files of an earlier load that was killed are overwritten, nothing else is.
    """
    with lake.lock():
        return _append_locked(connection, dataset, id_types, lake, clock, before)


def _append_locked(
    connection: duckdb.DuckDBPyConnection,
    dataset: Dataset,
    id_types: Mapping[str, IdType],
    lake: Lake,
    clock: datetime | None,
    before: Manifest | None,
) -> Appended:
    if before != (lake.manifest() if lake.exists() else None):
        raise ContractError(
            lake.root, expected="a lake that nobody else changes", got="another load meanwhile", fix="Run it again."
        )
    merged = merge(before, dataset, id_types)
    queries = {"events": _new_events(connection, before, lake)}
    stamp = clock or _end_of_log(connection, before, lake)
    for table in _KEYS:
        if table in dataset.tables:
            queries[table] = _new_versions(connection, table, merged, before, lake, stamp)
    written = _write(connection, queries, lake, number=len(merged.loads) + 1)
    if not any(count for count, _ in written.values()) and before is not None:
        return Appended({table: 0 for table in queries}, before)
    rows = {table: count for table, (count, _) in written.items()}
    files = {table: [name] for table, (count, name) in written.items() if count}
    manifest = replace(merged, loads=(*merged.loads, Load(dataset.source, dataset.fingerprint, rows, files)))
    lake.commit(manifest)
    return Appended(rows, manifest)


def _files(lake: Lake, manifest: Manifest | None, table: str) -> list[str]:
    return [] if manifest is None else [str(lake.root / name) for name in manifest.files(table)]


def _new_events(connection: duckdb.DuckDBPyConnection, before: Manifest | None, lake: Lake) -> str:
    """Staged events minus those in the lake, as multisets, over the times that the two have in common."""
    columns = ", ".join(EVENT_COLUMNS)
    order = f"ORDER BY {TIME}, {USER}, {ITEM}, {EVENT_TYPE}, {VALUE}, origin"
    files = _files(lake, before, "events")
    if not files:
        return f"SELECT {columns} FROM {staged('events')} {order}"
    first, last = connection.execute(f"SELECT min({TIME})::VARCHAR, max({TIME})::VARCHAR FROM staged_events").fetchone()
    overlap = f"{TIME} BETWEEN TIMESTAMPTZ {literal(first)} AND TIMESTAMPTZ {literal(last)}"
    both = (
        f"SELECT {columns}, 1 AS surplus FROM {staged('events')} "
        f"UNION ALL SELECT {columns}, -1 FROM {parquet(files)} WHERE {overlap}"
    )
    return (
        f"SELECT {columns} FROM (SELECT {columns}, unnest(range(surplus)) FROM "
        f"(SELECT {columns}, sum(surplus)::BIGINT AS surplus FROM ({both}) GROUP BY ALL) WHERE surplus > 0) {order}"
    )


def _end_of_log(connection: duckdb.DuckDBPyConnection, before: Manifest | None, lake: Lake) -> datetime:
    """One microsecond after the last event once this load is in."""
    files = _files(lake, before, "events")
    old = f" UNION ALL SELECT max({TIME}) FROM {parquet(files)}" if files else ""
    last = connection.execute(f"SELECT max(t) FROM (SELECT max({TIME}) AS t FROM staged_events{old})").fetchone()[0]
    return last.astimezone(UTC) + timedelta(microseconds=1)


def _new_versions(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    merged: Manifest,
    before: Manifest | None,
    lake: Lake,
    stamp: datetime,
) -> str:
    """Staged rows that say something new about their key, each with the time since when it is known.

    A key that is new without a time was always known; a change without a time of its own is known since `stamp`.
    """
    key = _KEYS[table]
    types = _column_types(table, merged)
    own = _columns_of(connection, staged(table))
    timed = f"CAST({TIME} AS TIMESTAMPTZ)" if TIME in own else "NULL::TIMESTAMPTZ"
    order = f"ORDER BY {TIME}, {key}"
    files = _files(lake, before, table)
    always = f"TIMESTAMPTZ {literal(str(ALWAYS))}"
    if not files:
        columns = ", ".join(_column(name, sql_type, own) for name, sql_type in types.items())
        return (
            f"SELECT DISTINCT {key}, coalesce({timed}, {always}) AS {TIME}{_then(columns)} FROM {staged(table)} {order}"
        )
    lake_columns = _columns_of(connection, parquet(files))
    kept = ", ".join(_column(name, sql_type, lake_columns) for name, sql_type in types.items())
    columns = ", ".join(f"{'s' if name in own else 'latest'}.{name}" for name in types)
    compared = [name for name in types if name in own]
    differs, differs_same = (
        " OR ".join(f"s.{name} IS DISTINCT FROM {side}.{name}" for name in compared) or "false"
        for side in ("latest", "same")
    )
    return f"""
        WITH old AS (SELECT {key}, {TIME}{_then(kept)} FROM {parquet(files)}),
        latest AS (SELECT * FROM old QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {TIME} DESC) = 1),
        s AS (SELECT DISTINCT {key}, {timed} AS {TIME}{_then(", ".join(compared))} FROM {staged(table)})
        SELECT s.{key}, CASE
            WHEN s.{TIME} IS NOT NULL AND same.{key} IS NULL THEN s.{TIME}
            WHEN latest.{key} IS NULL THEN {always}
            ELSE greatest(TIMESTAMPTZ {literal(str(stamp))}, latest.{TIME} + INTERVAL 1 MICROSECOND)
        END AS {TIME}{_then(columns)}
        FROM s LEFT JOIN latest ON latest.{key} = s.{key}
        LEFT JOIN old AS same ON same.{key} = s.{key} AND same.{TIME} = s.{TIME}
        WHERE latest.{key} IS NULL OR (s.{TIME} IS NOT NULL AND same.{key} IS NULL)
            OR (({differs}) AND (same.{key} IS NULL OR {differs_same}))
        {order}"""


def _column_types(table: str, manifest: Manifest) -> dict[str, str]:
    attributes = manifest.user_attributes if table == "users" else manifest.item_attributes
    fixed = _ITEM_COLUMNS if table == "items" else {}
    return {**fixed, **{name: _KIND_TYPES[kind] for name, kind in attributes.items()}}


def _columns_of(connection: duckdb.DuckDBPyConnection, relation: str) -> set[str]:
    return {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}


def _column(name: str, sql_type: str, present: set[str]) -> str:
    return name if name in present else f"NULL::{sql_type} AS {name}"


def _then(columns: str) -> str:
    return f", {columns}" if columns else ""


def _write(
    connection: duckdb.DuckDBPyConnection, queries: Mapping[str, str], lake: Lake, number: int
) -> dict[str, tuple[int, str]]:
    """Write each query's rows to `<table>/<number>.parquet`; return rows and file name per table."""
    written = {}
    temporary: list[Path] = []
    try:
        for table, query in queries.items():
            name = f"{table}/{number:06}.parquet"
            (lake.root / table).mkdir(parents=True, exist_ok=True)
            path = lake.root / f"{name}.tmp"
            temporary.append(path)
            options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}"
            count = connection.execute(f"COPY ({query}) TO {literal(str(path))} ({options})").fetchone()[0]
            written[table] = (count, name)
        for count, name in written.values():
            if count:
                os.replace(lake.root / f"{name}.tmp", lake.root / name)
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)
    return written
