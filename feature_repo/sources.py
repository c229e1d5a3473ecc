"""Where a view's rows lie. One factory, so that the definitions do not change with the engine that reads them.

Here it is Parquet through DuckDB. On Spark, return a SparkSource over the same files:
`SparkSource(name=..., path=..., file_format="parquet", timestamp_field=TIME, created_timestamp_column=CREATED)`.
"""

from __future__ import annotations

from feast import FileSource
from feast.data_format import ParquetFormat
from feast.data_source import DataSource

from feature_repo.columns import CREATED, TIME
from feature_repo.data_set import DataSet


def source(view: str, data: DataSet) -> DataSource:
    """Return the source of a view: every Parquet file in its folder, at any depth."""
    return FileSource(
        name=f"{view}_source",
        path=str(data.features_dir / view / "**" / "*.parquet"),
        file_format=ParquetFormat(),
        timestamp_field=TIME,
        created_timestamp_column=CREATED,
    )
