"""Open a Feast source for reading: local Parquet through Arrow, anything with a scheme through DuckDB."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from feast.infra.offline_stores.file_source import FileSource

from feature_repo.stores.duckdb_scan import DuckDBScan, literal
from feature_repo.stores.settings import Settings
from feature_repo.stores.sources import NO_COLUMNS, Scan, is_uri, local_files, open_parquet


def open_scan(source: FileSource, settings: Settings, empty: pa.Schema = NO_COLUMNS) -> Scan:
    """Open a source; an empty directory has the schema `empty`. Raises MissingError where nothing is there."""
    if is_uri(source.path):
        return DuckDBScan(source.path, settings, source.s3_endpoint_override or None)
    return open_parquet(source.path, settings.repo_path, settings.threads, empty)


def source_sql(source: FileSource, settings: Settings) -> str:
    """Return the source as a table expression of DuckDB's SQL."""
    return parquet_sql([source.path] if is_uri(source.path) else local_files(source.path, settings.repo_path))


def parquet_sql(paths: Sequence[str]) -> str:
    return f"read_parquet([{', '.join(map(literal, paths))}], union_by_name = true)"
