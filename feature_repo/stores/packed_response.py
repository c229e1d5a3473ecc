"""Feast's response over packed rows: dictionaries, frames and tables come straight from the columns.

The protobuf, which costs more than everything else together, is built when somebody asks for it. It counts timestamps
in whole seconds, as Feast does; the other forms keep microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

import numpy as np
import pyarrow as pa
from feast.online_response import TIMESTAMP_POSTFIX, OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType
from google.protobuf.timestamp_pb2 import Timestamp

from feature_repo.stores.packed_answer import Answer
from feature_repo.stores.packed_found import ViewRows
from feature_repo.stores.packed_values import plain_values, to_protos

_MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True)
class _Column:
    """One column of the response; `rows` are the view's rows it was read from, None where it was given or computed."""

    name: str
    values: pa.Array
    kind: ValueType
    rows: ViewRows | None
    opaque: bool = False


class PackedOnlineResponse(OnlineResponse):
    """What `get_online_features` returns: join keys first, then features in the order asked for."""

    def __init__(self, answer: Answer, include_versions: bool) -> None:
        self._answer = answer
        self._include_versions = include_versions
        self._columns_read: list[_Column] | None = None
        self._proto: GetOnlineFeaturesResponse | None = None
        self._feature_types = {}

    @property
    def _columns(self) -> list[_Column]:
        if self._columns_read is None:
            types = self._answer.plan.entity_types
            keys = self._answer.request.keys
            given = [_Column(name, keys[name], types.get(name, ValueType.UNKNOWN), None) for name in keys]
            self._columns_read = given + [self._column(name) for name in self._answer.plan.outputs]
        return self._columns_read

    def _column(self, name: str) -> _Column:
        field, values = self._answer.field(name), self._answer.array(name)
        if field is None:
            return _Column(name, values, self._answer.plan.on_demand_types.get(name, ValueType.UNKNOWN), None)
        read, rows, feature = self._answer.stored[name]
        return _Column(name, values, read.value_types[feature], rows, field.opaque)

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, Any]:
        response: dict[str, Any] = {}
        for column in self._columns:
            response[column.name] = _python_values(column)
            if include_event_timestamps:
                response[column.name + TIMESTAMP_POSTFIX] = _seconds(column, self._answer.request.rows)
        return response

    def to_arrow(self, include_event_timestamps: bool = False) -> pa.Table:
        table: dict[str, pa.Array] = {}
        for column in self._columns:
            table[column.name] = pa.array(_python_values(column)) if column.opaque else column.values
            if include_event_timestamps:
                seconds = _seconds(column, self._answer.request.rows)
                table[column.name + TIMESTAMP_POSTFIX] = pa.array(seconds, pa.int64())
        return pa.table(table)

    @property
    def proto(self) -> GetOnlineFeaturesResponse:
        """The response as Feast's protobuf, built once."""
        if self._proto is None:
            self._proto = self._build()
        return self._proto

    def _build(self) -> GetOnlineFeaturesResponse:
        response, rows = GetOnlineFeaturesResponse(), self._answer.request.rows
        for column in self._columns:
            response.metadata.feature_names.val.append(column.name)
            response.results.append(
                GetOnlineFeaturesResponse.FeatureVector(
                    values=_protos(column, self._answer),
                    statuses=_statuses(column, rows),
                    event_timestamps=_timestamps(column, rows),
                )
            )
        if self._include_versions:
            for read in self._answer.plan.reads:
                view = read.feature_view
                version = response.metadata.feature_view_metadata.add()
                version.name = view.projection.name_alias or view.projection.name
                version.version = getattr(view, "current_version_number", 0) or 0
        return response


def _python_values(column: _Column) -> list[Any]:
    if column.opaque:
        return plain_values(column.values, column.kind)
    values = column.values.to_pylist()
    if not _holds_times(column.values.type):
        return values
    return [_in_utc(value) for value in values]


def _holds_times(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind.value_type if pa.types.is_list(kind) else kind)


def _in_utc(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_utc(element) for element in value]
    return None if value is None else value.replace(tzinfo=UTC)


def _seconds(column: _Column, rows: int) -> list[int]:
    if column.rows is None:
        return [0] * rows
    found = column.rows.spread(column.rows.found)
    return np.where(found, column.rows.spread(column.rows.rows.event) // _MICROSECONDS, 0).tolist()


def _statuses(column: _Column, rows: int) -> list[int]:
    if column.rows is None:
        return [FieldStatus.PRESENT] * rows
    status = np.where(column.rows.found, FieldStatus.PRESENT, FieldStatus.NOT_FOUND)
    if column.rows.expired is not None:
        status[column.rows.expired] = FieldStatus.OUTSIDE_MAX_AGE
    return column.rows.spread(status).tolist()


def _timestamps(column: _Column, rows: int) -> list[Timestamp]:
    if column.rows is None:
        return [Timestamp()] * rows
    stamps = []
    for time, found in zip(column.rows.rows.event.tolist(), column.rows.found.tolist(), strict=True):
        stamp = Timestamp()
        if found:
            stamp.FromMicroseconds(time)
        stamps.append(stamp)
    return stamps if column.rows.index is None else [stamps[i] for i in column.rows.index.tolist()]


def _protos(column: _Column, answer: Answer) -> list[Value]:
    field = None if column.rows is None else answer.field(column.name)
    if field is not None:
        return to_protos(column.values, field)
    return python_values_to_proto_values(column.values.to_pylist(), column.kind)
