"""The bulk path on Feast's Redis store: every hash of a request in one pipeline, values decoded column by column.

Feast keeps one Redis hash per entity key with a field per (view, feature), each a serialised protobuf value. Numbers
are read off the bytes: a double is a tag and eight bytes, an integer a tag and a varint; other values are parsed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.online_stores.helpers import _mmh3
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.Value_pb2 import Value, ValueType
from feast.repo_config import RepoConfig
from google.protobuf.timestamp_pb2 import Timestamp

from feature_repo.stores.bulk_feast import ArrowRows
from feature_repo.stores.packed import TIMESTAMP, Blobs, Field, arrow_numbers
from feature_repo.stores.packed_answer import Answer
from feature_repo.stores.packed_read import ViewRows, expire
from feature_repo.stores.packed_request import Plan, RequestColumns, ViewRead
from feature_repo.stores.packed_values import from_protos
from feature_repo.stores.packed_view import NEVER

_FIXED: Final = {pa.float64(): "<f8", pa.float32(): "<f4"}
_VARINT: Final = {pa.int64(): "<i8", pa.int32(): "<i4", TIMESTAMP: "<i8", pa.bool_(): "u1"}
_LONGEST_VARINT: Final = 10
_MICROSECONDS: Final = 1_000_000


def is_redis(online: OnlineStore) -> bool:
    """Whether it is Feast's Redis store, without importing Redis' client."""
    return any(kind.__name__ == "RedisOnlineStore" for kind in type(online).__mro__)


def redis_answer(online: OnlineStore, config: RepoConfig, plan: Plan, request: RequestColumns, now: int) -> Answer:
    """Answer a plan with one pipelined call."""
    asked = [_Asked(config, read, request) for read in plan.reads]
    values = online._read_hash_fields(config, [item for view in asked for item in view.items])
    rows, start = [], 0
    for view in asked:
        end = start + len(view.items)
        rows.append(view.rows(values[start:end], now))
        start = end
    return Answer(plan, request, rows)


class _Asked:
    """What one view asks of Redis: a (hash, fields) pair per distinct key, a null key none."""

    def __init__(self, config: RepoConfig, read: ViewRead, request: RequestColumns) -> None:
        self._read = read
        arrays = read.key_arrays(request.keys, request.rows)
        asked = read.view.keys.asked(arrays)
        self._index = asked.index
        self._known = np.array([key is not None for key in asked.keys], bool)
        chosen = pa.array(asked.first[self._known])
        hashes = serialized_keys(read, [array.take(chosen) for array in arrays], config.project)
        name = read.view.name
        fields = [*(_mmh3(f"{name}:{feature}") for feature in read.features), f"_ts:{name}"]
        self.items = [(key, fields) for key in hashes]

    def rows(self, values: Sequence[Sequence[bytes | None]], now: int) -> ViewRows:
        layout, names = self._read.view.layout, list(self._read.features)
        columns_read = list(zip(*values, strict=True)) if values else [()] * (len(names) + 1)
        places = np.where(self._known, np.cumsum(self._known) - 1, -1)
        spread = pa.array(places, mask=~self._known)
        columns = {
            name: decode_column(column, layout.by_name[name], self._read.view.name).take(spread)
            for name, column in zip(names, columns_read, strict=False)
        }
        event = np.full(len(self._known), NEVER)
        event[self._known] = _event_times(columns_read[-1])
        rows = ArrowRows(layout, columns, event)
        return ViewRows(rows, self._index, expire(rows, self._read.view.ttl, now))


def serialized_keys(read: ViewRead, arrays: Sequence[pa.Array], project: str) -> list[bytes]:
    """Serialise entity keys as Feast does (version 3), all at once, and add the project."""
    names = read.view.keys.names
    kinds = {column.name: column.dtype.to_value_type().name for column in read.feature_view.entity_columns}
    order = sorted(range(len(names)), key=names.__getitem__)
    head = struct.pack("<I", len(names))
    for i in order:
        name = names[i].encode()
        head += struct.pack("<II", ValueType.STRING, len(name)) + name
    pieces: list[pa.Array | pa.Scalar] = [_constant(head)]
    for i in order:
        pieces += _key_pieces(arrays[i], kinds[names[i]])
    joined = pc.binary_join_element_wise(*pieces, _constant(project.encode()), _constant(b""))
    return Blobs.of(joined).to_list()


def _key_pieces(array: pa.Array, kind: str) -> list[pa.Array | pa.Scalar]:
    number = ValueType.Enum.Value(kind)
    if pa.types.is_integer(array.type):
        dtype = "<i4" if kind == "INT32" else "<i8"
        values = array.to_numpy(zero_copy_only=False).astype(dtype)
        return [_constant(struct.pack("<II", number, values.dtype.itemsize)), Blobs.of_rows(values).to_arrow()]
    lengths = pc.binary_length(array).to_numpy(zero_copy_only=False).astype("<u4")
    return [_constant(struct.pack("<I", number)), Blobs.of_rows(lengths).to_arrow(), array.cast(pa.large_binary())]


def _constant(data: bytes) -> pa.Scalar:
    return pa.scalar(data, pa.large_binary())


def decode_column(values: Sequence[bytes | None], field: Field, where: str) -> pa.Array:
    """Decode one feature's serialised values; what is missing or empty is null."""
    nulls = np.fromiter((not value for value in values), bool, len(values))
    if field.type in _FIXED:
        return _fixed(values, nulls, field.type)
    if field.type in _VARINT:
        return _varints(values, nulls, field.type)
    return from_protos([Value.FromString(value) if value else None for value in values], field, where)


def _fixed(values: Sequence[bytes | None], nulls: np.ndarray, kind: pa.DataType) -> pa.Array:
    dtype = np.dtype([("tag", "u1"), ("value", _FIXED[kind])])
    nothing = bytes(dtype.itemsize)
    read = np.frombuffer(b"".join([value or nothing for value in values]), dtype)["value"]
    return arrow_numbers(read, nulls if nulls.any() else None, kind)


def _varints(values: Sequence[bytes | None], nulls: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Decode tag and varint: seven bits per byte, the lowest first; a byte below 128 is the last."""
    room = 1 + _LONGEST_VARINT
    data = np.frombuffer(b"".join([(value or b"").ljust(room, b"\0") for value in values]), np.uint8)
    digits = (data.reshape(len(values), room)[:, 1:] & 127).astype(np.uint64)
    shifts = np.arange(0, 7 * _LONGEST_VARINT, 7, dtype=np.uint64)
    numbers = np.bitwise_or.reduce(digits << shifts, axis=1).view(np.int64)
    if kind == TIMESTAMP:
        nulls = nulls | (numbers == np.iinfo(np.int64).min)
        numbers = numbers * _MICROSECONDS
    return arrow_numbers(numbers.astype(_VARINT[kind]), nulls if nulls.any() else None, kind)


def _event_times(values: Sequence[bytes | None]) -> list[int]:
    """Return event times in microseconds, NEVER where there is no row."""
    return [Timestamp.FromString(value).ToMicroseconds() if value else NEVER for value in values]
