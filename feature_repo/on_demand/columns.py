"""Between Feast's pandas frames and the Arrow columns that on-demand functions work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from feature_repo.on_demand.shared import Column, Shared, Values, derived

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureView, OnDemandFeatureView

REQUEST_TIME: Final = "request_time"
ARROW_TAG: Final = "arrow"
TIMES: Final = pa.timestamp("us", tz="UTC")
NAMES: Final = pa.list_(pa.string())
COUNTS: Final = pa.list_(pa.int32())
SHARES: Final = pa.list_(pa.float32())
MOMENTS: Final = pa.list_(TIMES)
_SECOND: Final = 1_000_000

Columns = Mapping[str, Column]
Compute = Callable[[Columns], Mapping[str, np.ndarray] | np.ndarray]
# How Arrow holds the values of its types.
HELD: Final = {
    pa.int32().id: np.dtype(np.int32),
    pa.int64().id: np.dtype(np.int64),
    pa.float32().id: np.dtype(np.float32),
    pa.float64().id: np.dtype(np.float64),
    TIMES.id: np.dtype(np.int64),
}


@dataclass(frozen=True)
class PairFunction:
    """A vectorised function: the columns that it reads, by view, with their Arrow types, and what it returns.

    `compute` gets columns of one length and returns arrays of that length, one per output, NaN for null; they are cut
    to float32. It may return all of them as one float32 array (outputs, rows), too. Every function also sees
    `request_time`, in whole seconds: online a time has no more. With `shared` it takes a column as `Shared`, too: its
    values once, with a number for each row; else all are Arrow arrays. `texts` are outputs that repeat a text of the
    request, by its name there.
    """

    name: str
    inputs: Mapping[str, Mapping[str, pa.DataType]]
    outputs: Sequence[str]
    compute: Compute
    shared: bool = False
    texts: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def types(self) -> dict[str, pa.DataType]:
        columns = {name: dtype for columns in self.inputs.values() for name, dtype in columns.items()}
        return {**columns, REQUEST_TIME: TIMES, **dict.fromkeys(self.texts.values(), pa.string())}

    def on_arrow(self, table: pa.Table) -> pa.Table:
        """Apply the function to a table that has its input columns; return its outputs, null where undefined."""
        arrays = _arrays(table)
        columns = {name: _read(arrays[name]) for name in self.types}
        # One array, cut into columns, costs little more than one column.
        whole, rows = pa.array(self.on_columns(columns).reshape(-1), from_pandas=True), table.num_rows
        result = {name: whole.slice(place * rows, rows) for place, name in enumerate(self.outputs)}
        return pa.table({**result, **{name: _cast(arrays[text], pa.string()) for name, text in self.texts.items()}})

    def of_columns(self, columns: Columns) -> PairFunction:
        """Return the function for these columns: itself."""
        return self

    def on_columns(self, columns: Columns) -> np.ndarray:
        """Apply the function to its input columns; return float32 (outputs, rows), NaN where undefined."""
        result = self.compute({name: self._column(columns[name], dtype) for name, dtype in self.types.items()})
        if isinstance(result, np.ndarray):
            return result
        block = np.empty((len(self.outputs), len(columns[REQUEST_TIME])), np.float32)
        for place, name in enumerate(self.outputs):
            block[place] = result[name]
        return block

    def on_frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Apply the function to a pandas frame that has its input columns."""
        import pandas as pd

        columns = {name: _from_pandas(frame[name], dtype) for name, dtype in self.types.items()}
        result = dict(zip(self.outputs, self.on_columns(columns), strict=True))
        texts = {name: _cast(columns[text], pa.string()) for name, text in self.texts.items()}
        texts = {name: column.to_numpy(zero_copy_only=False) for name, column in texts.items()}
        return pd.DataFrame({**result, **texts}, index=frame.index)

    def _column(self, column: Column, dtype: pa.DataType) -> Column:
        if not isinstance(column, Shared):
            return _cast(column, dtype)
        if not self.shared:
            return _cast(column.plain(), dtype)
        if column.type == dtype:
            return column
        return Shared(column.values.made(dtype, lambda values: Values(_cast(values, dtype))), column.row)


def _read(values: pa.Array) -> Column:
    return Shared.of(values) if pa.types.is_dictionary(values.type) else values


def _arrays(table: pa.Table) -> dict[str, pa.Array]:
    """Return a table's columns, each in one piece."""
    batches = table.to_batches()
    if len(batches) == 1:
        return dict(zip(table.column_names, batches[0].columns, strict=True))
    columns = zip(table.column_names, table.columns, strict=True)
    return {name: column.chunk(0) if column.num_chunks == 1 else column.combine_chunks() for name, column in columns}


def _from_pandas(values: pd.Series, dtype: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(dtype) and values.dtype.kind in "iuf":
        # Feast hands a time over as seconds where it came as a number.
        return pa.Array.from_pandas(values).cast(pa.int64()).cast(pa.timestamp("s", tz="UTC"))
    if pa.types.is_timestamp(dtype) and values.dtype.kind == "O" and values.isna().all():
        return pa.nulls(len(values), dtype)
    if pa.types.is_timestamp(dtype):
        return pa.Array.from_pandas(values)
    return pa.Array.from_pandas(values, type=dtype)


def plain(values: pa.Array) -> pa.Array:
    """Return a dictionary array as what it stands for; others as they are."""
    return values.dictionary.take(values.indices) if pa.types.is_dictionary(values.type) else values


def _cast(values: pa.Array, dtype: pa.DataType) -> pa.Array:
    if values.type == dtype:
        return values
    if not pa.types.is_timestamp(dtype):
        return values.cast(dtype)
    if pa.types.is_timestamp(values.type) and values.type.tz is None:
        values = values.cast(pa.timestamp(values.type.unit, tz="UTC"))
    return values.cast(dtype, safe=False)


def numbers(column: Column) -> np.ndarray:
    """Numbers as float64, NaN for null."""
    return derived(column, numbers, _numbers)


def _numbers(values: pa.Array) -> np.ndarray:
    if values.null_count and values.type.id not in HELD:
        return values.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    return _with_nulls(held(values).astype(np.float64), values)


def whole_seconds(column: Column) -> np.ndarray:
    """Times as the whole seconds before them: float64, NaN for null."""
    return derived(column, whole_seconds, _whole_seconds)


def _whole_seconds(times: pa.Array) -> np.ndarray:
    return _with_nulls((held(times) // _SECOND).astype(np.float64), times)


def seconds(times: pa.Array) -> np.ndarray:
    """Times in microseconds as seconds: float64, NaN for null."""
    return _with_nulls(held(times) / 1e6, times)


def side_by_side(columns: Columns, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return columns of one view as float64 (values, names), times in whole seconds, and each row's value (int64)."""
    chosen = [columns[name] for name in names]
    first = chosen[0]
    if not all(isinstance(column, Shared) and column.row is first.row for column in chosen):
        return np.arange(len(first)), _stacked([derived(column, _as_numbers, _as_numbers) for column in chosen])
    # Kept with the first column's values: those of the others were read with them.
    make = partial(_side_by_side, [column.values.array for column in chosen])
    return first.numbers, first.values.made((side_by_side, *names), make)


def _side_by_side(arrays: Sequence[pa.Array], _: pa.Array) -> np.ndarray:
    return _stacked([_as_numbers(array) for array in arrays])


def _as_numbers(values: pa.Array) -> np.ndarray:
    return _whole_seconds(values) if values.type.id == TIMES.id else _numbers(values)


def _stacked(columns: Sequence[np.ndarray]) -> np.ndarray:
    if len(columns) == 1:
        return columns[0][:, None]
    block = np.empty((len(columns[0]), len(columns)))
    for place, column in enumerate(columns):
        block[:, place] = column
    return block


def held(values: pa.Array) -> np.ndarray:
    """Return numbers, or times in microseconds, as Arrow holds them: anything under a null.

    Without a copy, and for a request's few rows in a third of the time of `to_numpy`.
    """
    dtype = HELD.get(values.type.id)
    if dtype is None:
        return values.to_numpy(zero_copy_only=False)
    if not len(values):
        return np.empty(0, dtype)
    return np.frombuffer(values.buffers()[1], dtype, len(values), dtype.itemsize * values.offset)


def valid(values: pa.Array) -> np.ndarray:
    """Return 1 for a value, 0 for a null (uint8)."""
    if not values.null_count:
        return np.ones(len(values), np.uint8)
    # Arrow's bits as they are: a tenth of the time of `is_valid` for a request's few rows.
    whole, rest = divmod(values.offset, 8)
    bits = np.frombuffer(values.buffers()[0], np.uint8)[whole:]
    return np.unpackbits(bits, count=rest + len(values), bitorder="little")[rest:]


def _with_nulls(numbers: np.ndarray, values: pa.Array) -> np.ndarray:
    if values.null_count:
        numbers[valid(values) == 0] = np.nan
    return numbers


def on_demand_view(function: PairFunction, views: Mapping[str, FeatureView]) -> OnDemandFeatureView | None:
    """Wrap a function as Feast's on-demand view; None where a view that it reads is left out.

    Feast keeps the source of the wrapper in its registry and runs it by itself, so the wrapper imports what it calls.
    """
    from feast import Field, OnDemandFeatureView, RequestSource
    from feast.types import Float32, String, UnixTimestamp

    if any(name not in views for name in function.inputs):
        return None
    text = (
        f"def {function.name}(inputs):\n"
        f"    from {namespace_of(function)} import FUNCTION\n\n"
        f"    return FUNCTION.on_frame(inputs)\n"
    )
    namespace: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {}
    exec(text, {"__name__": namespace_of(function)}, namespace)
    asked = [Field(name=REQUEST_TIME, dtype=UnixTimestamp)]
    asked += [Field(name=text, dtype=String) for text in function.texts.values()]
    request = RequestSource(name=f"{function.name}_request" if function.texts else "request", schema=asked)
    return OnDemandFeatureView(
        name=function.name,
        sources=[request, *(views[name][list(columns)] for name, columns in function.inputs.items())],
        schema=[
            *(Field(name=name, dtype=Float32) for name in function.outputs),
            *(Field(name=name, dtype=String) for name in function.texts),
        ],
        mode="pandas",
        udf=namespace[function.name],
        udf_string=text,
        tags={ARROW_TAG: f"{namespace_of(function)}.on_arrow"},
    )


def namespace_of(function: PairFunction) -> str:
    """The module that holds a function."""
    return f"{__package__}.{function.name}"
