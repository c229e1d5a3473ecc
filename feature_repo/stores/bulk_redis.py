"""The bulk path on Feast's Redis store: every hash of a request in one pipeline, values decoded column by column.

Feast keeps one Redis hash per entity key with a field per (view, feature), each a serialised protobuf value. Numbers
are read off the bytes: a double is a tag and eight bytes, an integer a tag and a varint; other values are parsed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.online_stores.helpers import _mmh3
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.Value_pb2 import Value, ValueType
from feast.repo_config import RepoConfig

from feature_repo.stores.bulk_feast import ArrowRows
from feature_repo.stores.packed import TIMESTAMP, Blobs, Field, arrow_numbers
from feature_repo.stores.packed_answer import Answer
from feature_repo.stores.packed_found import ViewRows, expire
from feature_repo.stores.packed_request import Plan, RequestColumns, ViewRead
from feature_repo.stores.packed_values import from_protos
from feature_repo.stores.packed_view import NEVER
from feature_repo.stores.redis_wire import HashFields, ask, packed_commands

if TYPE_CHECKING:
    from redis import Redis

_FIXED: Final = {pa.float64(): "<f8", pa.float32(): "<f4"}
_VARINT: Final = {pa.int64(): "<i8", pa.int32(): "<i4", TIMESTAMP: "<i8", pa.bool_(): "u1"}
_LONGEST_VARINT: Final = 10
_MICROSECONDS: Final = 1_000_000
_PACKED: Final = 0x0A
_SECONDS_TAG: Final = 0x08
_NANOS_TAG: Final = 0x10


def is_redis(online: OnlineStore) -> bool:
    """Whether it is Feast's Redis store, without importing Redis' client."""
    return any(kind.__name__ == "RedisOnlineStore" for kind in type(online).__mro__)


def redis_answer(online: OnlineStore, config: RepoConfig, plan: Plan, request: RequestColumns, now: int) -> Answer:
    """Answer a plan with one pipelined call."""
    asked = [_Asked(config, read, request) for read in plan.reads]
    values = _read(online, config, [item for view in asked for item in view.items])
    rows, start = [], 0
    for view in asked:
        end = start + len(view.items)
        rows.append(view.rows(values[start:end], now))
        start = end
    return Answer(plan, request, rows)


def _read(online: OnlineStore, config: RepoConfig, items: Sequence[HashFields]) -> Sequence[Sequence[bytes | None]]:
    """Return the fields of each hash; to a single server all commands go in one piece, packed here."""
    client = _single_server(online, config)
    if client is None:
        return online._read_hash_fields(config, list(items))
    return ask(client, packed_commands(items), len(items))


def _single_server(online: OnlineStore, config: RepoConfig) -> Redis | None:
    """Return redis-py's client of one server; None for a cluster, for sentinels and for another library."""
    settings = config.online_store
    if getattr(settings, "redis_type", None) != "redis" or getattr(settings, "client", "redis") != "redis":
        return None
    return online._get_client(settings)


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
    lists = _fixed_lists(values, nulls, field.type) if pa.types.is_list(field.type) else None
    if lists is not None:
        return lists
    return from_protos([Value.FromString(value) if value else None for value in values], field, where)


def _fixed_lists(values: Sequence[bytes | None], nulls: np.ndarray, kind: pa.ListType) -> pa.Array | None:
    """Decode lists of floats that are all of one length, as vectors are; None for any others.

    A list is a value's tag and length, the list's own tag and length, and the floats one after the other.
    """
    present = [value for value in values if value]
    if kind.value_type not in _FIXED or not present or len(set(map(len, present))) > 1:
        return None
    head = _list_head(present[0], np.dtype(_FIXED[kind.value_type]).itemsize)
    if head is None or not all(value.startswith(head) for value in present):
        return None
    data = np.frombuffer(b"".join(present), np.uint8).reshape(len(present), -1)[:, len(head) :]
    numbers = np.ascontiguousarray(data).view(_FIXED[kind.value_type])
    offsets = np.concatenate([[0], np.cumsum(~nulls)]).astype(np.int32) * numbers.shape[1]
    mask = pa.array(nulls) if nulls.any() else None
    elements = pa.array(numbers.reshape(-1), kind.value_type)
    return pa.ListArray.from_arrays(pa.array(offsets), elements, type=kind, mask=mask)


def _list_head(value: bytes, width: int) -> bytes | None:
    """Return what stands before the floats of a list, None where it is not what was expected: an empty list."""
    data = np.frombuffer(value, np.uint8)[None]
    tag = _varint_end(data, 0)
    inner = _varint_end(data, tag)
    if inner >= len(value) or value[inner] != _PACKED:
        return None
    length, start = _varint(data, np.array([inner + 1]))
    return value[: start[0]] if start[0] + length[0] == len(value) and length[0] % width == 0 else None


def _varint_end(data: np.ndarray, start: int) -> int:
    return int(_varint(data, np.array([start]))[1][0])


def _varint(data: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read the varint that begins at `start` in each row of bytes; also return where it ends, both int64."""
    places = start[:, None] + np.arange(_LONGEST_VARINT)
    inside = places < data.shape[1]
    byte = np.where(inside, np.take_along_axis(data, np.minimum(places, data.shape[1] - 1), axis=1), 0)
    more = byte[:, :-1] > 127
    alive = np.concatenate([np.ones((len(data), 1), bool), np.logical_and.accumulate(more, axis=1)], axis=1)
    shifts = np.arange(0, 7 * _LONGEST_VARINT, 7, dtype=np.uint64)
    digits = np.where(alive, byte & 127, 0).astype(np.uint64)
    return np.bitwise_or.reduce(digits << shifts, axis=1).view(np.int64), start + alive.sum(axis=1)


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


def _event_times(values: Sequence[bytes | None]) -> np.ndarray:
    """Return event times in int64 microseconds, NEVER where there is no row.

    A timestamp is a tag and the seconds, then a tag and the nanoseconds; what is zero is left out.
    """
    known = [value for value in values if value]
    times = np.full(len(values), NEVER)
    if not known:
        return times
    room = 2 * (1 + _LONGEST_VARINT)
    data = np.frombuffer(b"".join([value.ljust(room, b"\0") for value in known]), np.uint8).reshape(-1, room)
    timed = data[:, 0] == _SECONDS_TAG
    seconds, end = _varint(data, np.ones(len(known), np.int64))
    seconds, end = np.where(timed, seconds, 0), np.where(timed, end, 0)
    nanos, _ = _varint(data, end + 1)
    nanos[data[np.arange(len(known)), end] != _NANOS_TAG] = 0
    times[[bool(value) for value in values]] = seconds * _MICROSECONDS + nanos // 1000
    return times
