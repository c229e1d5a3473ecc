"""Feast's protobuf values and types on one side, Arrow columns of packed records on the other.

Feast's protobuf timestamps count whole seconds; Arrow columns keep microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values
from feast.types import FeastType
from feast.value_type import ValueType

from feature_repo.errors import DataError
from feature_repo.stores.packed import TIMESTAMP, Field
from feature_repo.stores.packed_keys import BYTES, INTEGER, STRING, KeyCodec

if TYPE_CHECKING:
    from feast.base_feature_view import BaseFeatureView

_SCALARS: Final = {
    ValueType.INT64: (pa.int64(), "int64_val"),
    ValueType.INT32: (pa.int32(), "int32_val"),
    ValueType.DOUBLE: (pa.float64(), "double_val"),
    ValueType.FLOAT: (pa.float32(), "float_val"),
    ValueType.BOOL: (pa.bool_(), "bool_val"),
    ValueType.UNIX_TIMESTAMP: (TIMESTAMP, "unix_timestamp_val"),
    ValueType.STRING: (pa.string(), "string_val"),
    ValueType.BYTES: (pa.binary(), "bytes_val"),
}
_ARROW: Final = {
    **{kind: arrow for kind, (arrow, _) in _SCALARS.items()},
    **{ValueType[f"{kind.name}_LIST"]: pa.list_(arrow) for kind, (arrow, _) in _SCALARS.items()},
}
_PROTO: Final = {
    **{arrow: proto for arrow, proto in _SCALARS.values()},
    **{pa.list_(arrow): proto.replace("_val", "_list_val") for arrow, proto in _SCALARS.values()},
}
_KEY_KINDS: Final = {
    ValueType.INT64: INTEGER,
    ValueType.INT32: INTEGER,
    ValueType.UNIX_TIMESTAMP: INTEGER,
    ValueType.STRING: STRING,
    ValueType.BYTES: BYTES,
}
_NO_TIME: Final = -(1 << 63)
_MICROSECONDS: Final = 1_000_000


def arrow_type(dtype: FeastType) -> pa.DataType | None:
    """Return the Arrow type that the packed store keeps a Feast type as; None for the rarer, opaque ones."""
    return value_type_to_arrow(dtype.to_value_type())


def value_type_to_arrow(kind: ValueType) -> pa.DataType | None:
    """Return the Arrow type of a Feast value type; None for the rarer ones."""
    return _ARROW.get(kind)


def fields_of(view: BaseFeatureView) -> list[Field]:
    """Return the packed fields of a view, in the order of its schema."""
    entities = {column.name for column in getattr(view, "entity_columns", [])}
    declared = {feature.name: feature for feature in view.features}
    # An on-demand view that is written may carry further columns of its schema, in no stable order.
    extra = [f for f in getattr(view, "schema", []) if f.name not in declared and f.name not in entities]
    fields = [*declared.values(), *sorted(extra, key=lambda field: field.name)]
    types = [(field.name, arrow_type(field.dtype)) for field in fields]
    return [Field(name, kind or pa.binary(), opaque=kind is None) for name, kind in types]


def key_codec(view: BaseFeatureView) -> KeyCodec:
    """Return how the keys of a view are encoded."""
    columns = [(c.name, c.dtype.to_value_type()) for c in getattr(view, "entity_columns", [])]
    for name, kind in columns:
        if kind not in _KEY_KINDS:
            raise DataError(
                f"feature view {view.name}, entity {name}",
                expected="an integer, string, bytes or timestamp key",
                got=kind.name,
                fix="Declare the entity with another value type.",
            )
    return KeyCodec(tuple((name, _KEY_KINDS[kind]) for name, kind in columns))


def entity_keys(view: BaseFeatureView, arrays: Sequence[pa.Array]) -> list[EntityKey]:
    """Build Feast's entity keys of a view from its stored key columns."""
    names = [column.name for column in view.entity_columns]
    fields = [_SCALARS[column.dtype.to_value_type()][1] for column in view.entity_columns]
    return [
        EntityKey(
            join_keys=names,
            entity_values=[Value(**{field: part}) for field, part in zip(fields, parts, strict=True)],
        )
        for parts in zip(*(array.to_pylist() for array in arrays), strict=True)
    ]


def from_protos(values: Sequence[Value | None], field: Field, where: str) -> pa.Array:
    """Turn one feature's protobuf values into a column; a value that is not set is null."""
    if field.opaque:
        return pa.array([_serialized(value) for value in values], field.type)
    plain = [_plain(value) for value in values]
    item = field.type.value_type if pa.types.is_list(field.type) else field.type
    if item == TIMESTAMP:
        plain = [_microseconds(value) for value in plain]
    try:
        return pa.array(plain, field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as problem:
        raise DataError(
            where, expected=f"{field.name} as {field.type}", got=str(problem), fix="Correct the values written."
        ) from problem


def to_protos(column: pa.Array, field: Field) -> list[Value]:
    """Turn a column into protobuf values; null becomes a value that is not set."""
    if field.opaque:
        return _protos_of(column)
    name = _PROTO[field.type]
    if not pa.types.is_list(field.type):
        plain = (_seconds(column) if field.type == TIMESTAMP else column).to_pylist()
        return [Value() if value is None else Value(**{name: value}) for value in plain]
    if field.type.value_type == TIMESTAMP:
        column = column.cast(pa.list_(pa.timestamp("s", "UTC")), safe=False).cast(pa.list_(pa.int64()))
    protos = [Value() for _ in range(len(column))]
    for proto, value in zip(protos, column.to_pylist(), strict=True):
        if value is not None:
            target = getattr(proto, name)
            target.SetInParent()
            target.val.extend(value if None not in value else _without_nulls(value, field))
    return protos


def _protos_of(column: pa.Array) -> list[Value]:
    """Read an opaque column's values."""
    return [Value() if data is None else Value.FromString(data) for data in column.to_pylist()]


def plain_values(column: pa.Array, kind: ValueType) -> list[Any]:
    """Read an opaque column's values as Python objects."""
    return [feast_value_type_to_python_type(value, kind) for value in _protos_of(column)]


def opaque_column(column: pa.Array, dtype: FeastType) -> pa.Array:
    """Serialise a source column of a rarer type, as Feast's own materialisation would convert it."""
    protos = python_values_to_proto_values(column.to_pylist(), dtype.to_value_type())
    return pa.array([_serialized(value) for value in protos], pa.binary())


def _plain(value: Value | None) -> object:
    which = value.WhichOneof("val") if value is not None else None
    if which is None:
        return None
    plain = getattr(value, which)
    return list(plain.val) if which.endswith("_list_val") else plain


def _microseconds(value: object) -> object:
    if isinstance(value, list):
        return [_microseconds(second) for second in value]
    return None if value is None or value == _NO_TIME else value * _MICROSECONDS


def _seconds(column: pa.Array) -> pa.Array:
    return column.cast(pa.timestamp("s", "UTC"), safe=False).view(pa.int64())


def _serialized(value: Value | None) -> bytes | None:
    return None if value is None or value.WhichOneof("val") is None else value.SerializeToString()


def _without_nulls(value: list, field: Field) -> list:
    """Feast's protobuf lists hold no nulls: floats become NaN, times Feast's own sentinel, others are an error."""
    item = field.type.value_type
    if pa.types.is_floating(item):
        return [float("nan") if element is None else element for element in value]
    if item == TIMESTAMP:
        return [_NO_TIME if element is None else element for element in value]
    raise DataError(
        f"feature {field.name}",
        expected="lists without null elements, the only ones that Feast's protobuf can carry",
        got="a null element",
        fix="Read it through feature_repo.stores.bulk, or leave nulls out of the lists.",
    )
