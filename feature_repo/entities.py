"""The two entities with the id types of the loaded data, and the fields that follow from the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa
from feast import Entity, Field, ValueType
from feast.types import Array, Bool, FeastType, Float32, Float64, Int32, Int64, String, UnixTimestamp

from feature_repo.columns import ITEM, USER
from feature_repo.data_set import DataSet
from feature_repo.lake import IdType


def user(data: DataSet) -> Entity:
    return Entity(
        name="user",
        join_keys=[USER],
        value_type=_value_type(data.user_id_type),
        description="Someone who acts and to whom items are shown.",
    )


def item(data: DataSet) -> Entity:
    return Entity(
        name="item",
        join_keys=[ITEM],
        value_type=_value_type(data.item_id_type),
        description="Something that can be shown to a user.",
    )


def user_key(data: DataSet) -> Field:
    return Field(name=USER, dtype=feast_type(data.user_id_type))


def item_key(data: DataSet) -> Field:
    return Field(name=ITEM, dtype=feast_type(data.item_id_type))


def feast_type(id_type: IdType) -> FeastType:
    return Int64 if id_type == "int64" else String


def attribute_fields(prefix: str, attributes: Mapping[str, str]) -> list[Field]:
    """Return a field per attribute, prefixed: Float64 for a number, String for a category; texts are no features."""
    kinds = {"number": Float64, "category": String}
    return [Field(name=f"{prefix}_{name}", dtype=kinds[kind]) for name, kind in attributes.items() if kind in kinds]


def feast_fields(columns: Iterable[tuple[str, pa.DataType]]) -> list[Field]:
    """Return Feast fields for Arrow columns."""
    return [Field(name=name, dtype=_from_arrow(dtype)) for name, dtype in columns]


def _from_arrow(dtype: pa.DataType) -> FeastType:
    if pa.types.is_list(dtype):
        return Array(_from_arrow(dtype.value_type))
    if pa.types.is_timestamp(dtype):
        return UnixTimestamp
    return _FEAST_TYPES[dtype]


_FEAST_TYPES: dict[pa.DataType, FeastType] = {
    pa.bool_(): Bool,
    pa.int32(): Int32,
    pa.int64(): Int64,
    pa.float32(): Float32,
    pa.float64(): Float64,
    pa.string(): String,
}


def _value_type(id_type: IdType) -> ValueType:
    return ValueType.INT64 if id_type == "int64" else ValueType.STRING
