"""The Redis path against Feast's own serialisation; Redis itself is a dictionary here."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import _mmh3
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.stores.bulk import BulkReader
from feature_repo.stores.bulk_redis import _event_times, decode_column, is_redis, packed_commands
from feature_repo.stores.packed import TIMESTAMP, Field
from feature_repo.stores.packed_values import from_protos
from feature_repo.stores.packed_view import NEVER

KINDS = {
    "double_val": (pa.float64(), st.floats()),
    "float_val": (pa.float32(), st.floats(width=32)),
    "int64_val": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "int32_val": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "bool_val": (pa.bool_(), st.booleans()),
    "unix_timestamp_val": (TIMESTAMP, st.integers(-(2**40), 2**40) | st.just(-(2**63))),
    "string_val": (pa.string(), st.text(max_size=5)),
}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_columns_are_decoded_as_protobuf_would(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(KINDS)))
    kind, values = KINDS[name]
    protos = [Value() if v is None else Value(**{name: v}) for v in data.draw(st.lists(st.none() | values, max_size=8))]
    field = Field("x", kind)
    raw = [data.draw(st.sampled_from([None, b""])) if p == Value() else p.SerializeToString() for p in protos]
    expected = from_protos([Value.FromString(value) if value else None for value in raw], field, "view x")
    decoded = decode_column(raw, field, "view x")
    assert decoded.type == expected.type
    assert repr(decoded.to_pylist()) == repr(expected.to_pylist())


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_lists_of_floats_are_decoded_as_protobuf_would(data: st.DataObject) -> None:
    kinds = [("float_list_val", pa.float32(), 32), ("double_list_val", pa.float64(), 64)]
    name, kind, width = data.draw(st.sampled_from(kinds))
    length = data.draw(st.integers(0, 40))
    whole = st.lists(st.floats(width=width), min_size=length, max_size=length)
    drawn = data.draw(st.lists(st.none() | whole | st.lists(st.floats(width=width), max_size=3), max_size=6))
    protos = []
    for values in drawn:
        protos.append(Value())
        if values is not None:
            getattr(protos[-1], name).val.extend(values)
            getattr(protos[-1], name).SetInParent()
    field = Field("x", pa.list_(kind))
    raw = [None if proto == Value() else proto.SerializeToString() for proto in protos]
    expected = from_protos([Value.FromString(value) if value else None for value in raw], field, "view x")
    decoded = decode_column(raw, field, "view x")
    assert decoded.type == expected.type
    assert repr(decoded.to_pylist()) == repr(expected.to_pylist())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), max_size=8))
def test_event_times_are_decoded_as_protobuf_would(times: list[datetime | None]) -> None:
    raw = [None if time is None else serialized(time) for time in times]
    expected = [NEVER if not value else Timestamp.FromString(value).ToMicroseconds() for value in raw]
    assert _event_times(raw).tolist() == expected


def serialized(time: datetime) -> bytes:
    seconds, left = divmod(time - datetime(1970, 1, 1), timedelta(seconds=1))
    return Timestamp(seconds=seconds, nanos=left.microseconds * 1000).SerializeToString()


def test_commands_are_packed_as_redis_reads_them() -> None:
    fields = ["name", b"\r\n\0"]
    packed = packed_commands([(b"key", fields), (b"", fields), (b"other", [])])
    assert packed == (
        b"*4\r\n$5\r\nHMGET\r\n$3\r\nkey\r\n$4\r\nname\r\n$3\r\n\r\n\0\r\n"
        b"*4\r\n$5\r\nHMGET\r\n$0\r\n\r\n$4\r\nname\r\n$3\r\n\r\n\0\r\n"
        b"*2\r\n$5\r\nHMGET\r\n$5\r\nother\r\n"
    )


class RedisOnlineStore:
    """What the bulk path uses of Feast's Redis store: one call for all hashes."""

    def __init__(self) -> None:
        self.hashes: dict[bytes, dict[bytes | str, bytes]] = {}
        self.calls = 0

    def write(self, view: Any, table: pa.Table) -> None:
        keys = {column.name: f"{column.dtype.to_value_type().name.lower()}_val" for column in view.entity_columns}
        for row in table.to_pylist():
            values = [Value(**{kind: row[name]}) for name, kind in keys.items()]
            entity = EntityKey(join_keys=list(keys), entity_values=values)
            key = serialize_entity_key(entity, entity_key_serialization_version=3) + b"test"
            stamp = Timestamp()
            stamp.FromDatetime(row["event_timestamp"])
            fields = self.hashes.setdefault(key, {})
            fields[f"_ts:{view.name}"] = stamp.SerializeToString()
            for feature in view.features:
                fields[_mmh3(f"{view.name}:{feature.name}")] = _value(row[feature.name], feature).SerializeToString()

    def _read_hash_fields(self, config: Any, commands: list) -> list[list[bytes | None]]:
        self.calls += 1
        return [[self.hashes.get(key, {}).get(field) for field in fields] for key, fields in commands]


def _value(value: Any, feature: Any) -> Value:
    kind = feature.dtype.to_value_type().name.lower() + "_val"
    if value is None:
        return Value()
    if isinstance(value, list):
        proto = Value()
        getattr(proto, kind).val.extend(value)
        return proto
    return Value(**{kind: int(value.timestamp()) if kind == "unix_timestamp_val" else value})


@pytest.fixture
def redis_reader(packed_store: Any, packed_world: Any, monkeypatch: pytest.MonkeyPatch) -> BulkReader:
    online = RedisOnlineStore()
    for name in ("users", "items", "pairs"):
        online.write(packed_store.get_feature_view(name), packed_world.tables[name])
    reader = BulkReader(packed_store)
    monkeypatch.setattr(reader, "_online", online)
    return reader


@pytest.mark.parametrize("service", ["plain", "with_boosts", "only_on_demand"])
def test_values_are_those_of_the_packed_store_in_one_call(
    redis_reader: BulkReader, packed_store: Any, service: str
) -> None:
    rng = np.random.default_rng(0)
    users = pa.array([*rng.integers(0, 9, 40).tolist(), None], pa.int64())
    items = rng.choice(["i0", "i1", "é\0☃", "", "i'; DROP TABLE views; --", "i5", "unknown"], 41)
    pairs = pa.table({"user_id": users, "item_id": pa.array(items)})
    data = {} if service == "plain" else {"boost": 1.5}
    assert is_redis(redis_reader._online)
    ours = BulkReader(packed_store).features(service, pairs, data)
    assert redis_reader.features(service, pairs, data).to_pydict() == ours.to_pydict()
    assert redis_reader.features(service, pairs, data).schema == ours.schema
    assert redis_reader._online.calls == 2
