"""JSON files as SQL relations: one object a line, or an array of objects; each column typed by all of its values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from feature_repo.errors import DataError
from feature_repo.lake import quote
from feature_repo.loading.tables import identifier

if TYPE_CHECKING:
    import duckdb

ENDINGS: Final = (".json", ".jsonl", ".ndjson")
_WHOLE: Final = {"BIGINT", "UBIGINT"}
# What a record is may not be guessed from the data: a column in few rows is one, and many keys are no map.
_AS_WRITTEN: Final = "records = 'true', maximum_depth = 1, map_inference_threshold = -1, field_appearance_threshold = 0"


def json_columns(connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> dict[str, str]:
    """Return every key of the files' objects with its SQL type: BIGINT, DOUBLE, VARCHAR[] or else VARCHAR.

    Raises DataError for files that are no JSON objects.
    """
    import duckdb

    files = _list(paths)
    try:
        rows = connection.execute(
            f"DESCRIBE SELECT * FROM read_json({files}, {_AS_WRITTEN}, sample_size = -1, union_by_name = true)"
        ).fetchall()
        names = [row[0] for row in rows]
        kinds = ", ".join(f"list(DISTINCT json_type({identifier(name)}))" for name in names)
        found = connection.execute(f"SELECT {kinds} FROM {_objects(paths, names)}").fetchall()[0]
    except duckdb.Error as error:
        raise DataError(
            ", ".join(path.name for path in paths),
            expected="JSON: one object a line, or an array of objects",
            got=str(error).splitlines()[0],
            fix="Mend the file, or say its `format` in the mapping.",
        ) from error
    return {name: _sql_type(set(kinds or ())) for name, kinds in zip(names, found, strict=True)}


def json_relation(paths: list[Path], columns: dict[str, str]) -> str:
    """Return an SQL relation over JSON files with columns of these types (as `json_columns` has them)."""
    values = ", ".join(f"{_value(identifier(name), kind)} AS {identifier(name)}" for name, kind in columns.items())
    return f"(SELECT {values} FROM {_objects(paths, list(columns))})"


def _sql_type(kinds: set[str | None]) -> str:
    """A column of lists may hold single values, too; whole and other numbers are numbers; anything else is text."""
    kinds = kinds - {None, "NULL"}
    if "ARRAY" in kinds:
        return "VARCHAR[]"
    if kinds and kinds <= _WHOLE:
        return "BIGINT"
    return "DOUBLE" if kinds and kinds <= {*_WHOLE, "DOUBLE"} else "VARCHAR"


def _value(column: str, sql_type: str) -> str:
    text = f"({column} ->> '$')"
    if sql_type == "VARCHAR[]":
        return (
            f"CASE json_type({column}) WHEN 'ARRAY' THEN CAST({column} AS VARCHAR[]) WHEN 'NULL' THEN NULL "
            f"ELSE [{text}] END"
        )
    # A whole number beyond BIGINT stays null here and is told as one that can't be read.
    return text if sql_type == "VARCHAR" else f"TRY_CAST({text} AS {sql_type})"


def _objects(paths: list[Path], names: list[str]) -> str:
    types = ", ".join(f"{quote(name)}: 'JSON'" for name in names)
    return f"read_json({_list(paths)}, records = 'true', columns = {{{types}}})"


def _list(paths: list[Path]) -> str:
    return "[" + ", ".join(quote(str(path)) for path in paths) + "]"
