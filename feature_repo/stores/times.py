"""Times as integers: every clock in an Arrow column becomes int64 ticks since 1970 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from feature_repo.errors import DataError

Unit = Literal["us", "ns"]
NEVER: Final = int(np.iinfo(np.int64).min)  # the tick of a null: before everything, after nothing

_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def is_time(data_type: pa.DataType) -> bool:
    return pa.types.is_timestamp(data_type) or pa.types.is_date(data_type)


def finest_unit(*data_types: pa.DataType) -> Unit:
    """Return the unit in which all these columns compare without loss: nanoseconds only where one has them."""
    return "ns" if any(pa.types.is_timestamp(t) and t.unit == "ns" for t in data_types) else "us"


def to_ticks(column: pa.ChunkedArray | pa.Array, unit: Unit, where: str) -> np.ndarray:
    """Return int64 ticks of a timestamp, date or ISO text column; nulls become NEVER.

    Naive times are UTC. Ticks finer than `unit` are cut off downwards, which keeps `t <= T` exact for a coarser t.
    Raises DataError for a column that holds no times.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    array = as_timestamps(array, where)
    raw = array.view(pa.int64()).to_numpy(zero_copy_only=False) if not array.null_count else None
    if raw is None:
        raw = array.view(pa.int64()).fill_null(NEVER).to_numpy(zero_copy_only=False)
    return _rescale(raw, _PER_SECOND[array.type.unit], _PER_SECOND[unit])


def as_timestamps(array: pa.Array, where: str) -> pa.Array:
    """Return the column as timestamps in UTC, in its own unit (dates and texts in microseconds)."""
    if pa.types.is_timestamp(array.type):
        return array.cast(pa.timestamp(array.type.unit, "UTC"))
    if pa.types.is_date(array.type):
        return array.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return _parse(array, where)
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), pa.timestamp("us", "UTC"))
    raise DataError(where, expected="timestamps, dates or ISO texts", got=str(array.type), fix="Cast the column.")


def tick(moment: datetime, unit: Unit) -> int:
    """Return one moment's tick; a naive one is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return ticks_of(aware - _EPOCH, unit)


def ticks_of(span: timedelta, unit: Unit) -> int:
    """Return a span's ticks, exactly."""
    micros = (span.days * 86_400 + span.seconds) * 10**6 + span.microseconds
    return micros if unit == "us" else micros * 1000


def moment(ticks: int, unit: Unit) -> datetime:
    """Return the UTC time of a tick, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=ticks if unit == "us" else ticks // 1000)


def _rescale(raw: np.ndarray, own: int, wanted: int) -> np.ndarray:
    if own == wanted:
        return raw
    null = raw == NEVER
    if own > wanted:
        ticks = raw // (own // wanted)
    else:
        factor = wanted // own
        bound = np.iinfo(np.int64).max // factor
        ticks = np.clip(raw, -bound, bound) * factor
    return np.where(null, NEVER, ticks)


def _parse(texts: pa.Array, where: str) -> pa.Array:
    """Read ISO texts, with or without an offset, through DuckDB's cast."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("texts", pa.table({"t": texts}))
        try:
            parsed = connection.sql("SELECT CAST(t AS TIMESTAMPTZ) AS t FROM texts").to_arrow_table()
        except duckdb.ConversionException as error:
            raise DataError(where, expected="ISO times", got=str(error), fix="Correct the text.") from error
    return parsed["t"].combine_chunks()
