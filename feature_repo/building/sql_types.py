"""SQL types of a view's columns: what is declared, what a query may return for it, and the cast between the two."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from feature_repo.columns import CREATED, TIME
from feature_repo.errors import ContractError

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType
    from feast import FeatureView, Field

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
WHOLE_NUMBERS: Final = {
    "tinyint",
    "smallint",
    "integer",
    "bigint",
    "hugeint",
    "utinyint",
    "usmallint",
    "uinteger",
    "ubigint",
}
_FAMILIES: Final = {
    "INTEGER": WHOLE_NUMBERS,
    "BIGINT": WHOLE_NUMBERS,
    "FLOAT": {"float", "double", "decimal"},
    "DOUBLE": {"float", "double", "decimal"},
    "VARCHAR": {"varchar"},
    "BOOLEAN": {"boolean"},
    "TIMESTAMP WITH TIME ZONE": {"timestamp with time zone"},
}


def view_columns(view: FeatureView) -> dict[str, str]:
    """Return the columns of a view's files, in order, with their SQL types."""
    return with_times(types_of(view.entity_columns), types_of(view.features))


def types_of(fields: Iterable[Field]) -> dict[str, str]:
    return {field.name: sql_type(str(field.dtype)) for field in fields}


def with_times(keys: dict[str, str], features: dict[str, str]) -> dict[str, str]:
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


def fits(returned: DuckDBPyType, wanted: str) -> bool:
    if wanted.endswith("[]"):
        return returned.id == "list" and fits(dict(returned.children)["child"], wanted[:-2])
    return returned.id in _FAMILIES[wanted]


def cast(name: str, wanted: str) -> str:
    """Cast a column; NaN becomes null, because online it would."""
    cast = f"CAST({quoted(name)} AS {wanted})"
    return f"nullif({cast}, CAST('NaN' AS {wanted}))" if wanted in ("FLOAT", "DOUBLE") else cast


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
