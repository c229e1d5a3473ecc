"""A planned request, answered from the packed store: columns that are decoded when they are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.errors import ContractError
from feature_repo.stores.packed import Field, Rows, as_slice
from feature_repo.stores.packed_on_demand import ARROW_TAG, inputs_of, transform
from feature_repo.stores.packed_read import ViewRows
from feature_repo.stores.packed_request import Plan, RequestColumns, ViewRead
from feature_repo.stores.packed_values import plain_values


@dataclass
class Answer:
    """The rows of every view of a plan, aligned with the request's rows."""

    plan: Plan
    request: RequestColumns
    rows: list[ViewRows]

    @cached_property
    def stored(self) -> dict[str, tuple[ViewRead, ViewRows, str]]:
        """Where each stored column lies: (read, rows, feature) by its name in the answer."""
        return {
            output: (read, rows, feature)
            for read, rows in zip(self.plan.reads, self.rows, strict=True)
            for feature, output in read.features.items()
        }

    @cached_property
    def on_demand(self) -> dict[str, pa.Array]:
        """The columns asked for of on-demand views."""
        if not self.plan.on_demand:
            return {}
        features = {
            (read.feature_view.projection.name, feature): (rows, feature)
            for read, rows in zip(self.plan.reads, self.rows, strict=True)
            for feature in read.features
        }
        computed: dict[str, pa.Array] = {}
        for view in self.plan.on_demand:
            # Functions on Arrow take shared lists by number, Feast's own way by pandas does not.
            column = ViewRows.lists if ARROW_TAG in view.tags else ViewRows.array
            own = {name: column(*features[place]) for name, place in inputs_of(view).items()}
            inputs = pa.table({**self.request.keys, **self.request.data, **own})
            computed.update(transform(view, inputs, self.plan))
        return computed

    def array(self, name: str) -> pa.Array:
        """Return one column that was asked for, as Arrow."""
        if name in self.on_demand:
            return self.on_demand[name]
        _, rows, feature = self.stored[name]
        return rows.array(feature)

    def columns(self) -> list[pa.Array]:
        """Return the columns that were asked for, in order."""
        on_demand, stored = self.on_demand, self.stored
        return [on_demand[name] if name in on_demand else self._plain(*stored[name]) for name in self.plan.outputs]

    @staticmethod
    def _plain(read: ViewRead, rows: ViewRows, feature: str) -> pa.Array:
        """Return one stored column as Arrow, values of a rarer type as what they stand for."""
        column = rows.array(feature)
        if not read.view.layout.by_name[feature].opaque:
            return column
        return pa.array(plain_values(column, read.value_types[feature]))

    def field(self, name: str) -> Field | None:
        """Return the stored field of a column, None for one that was computed on demand."""
        if name in self.on_demand:
            return None
        read, _, feature = self.stored[name]
        return read.view.layout.by_name[feature]

    def matrix(
        self, names: Sequence[str], dtype: type[np.floating], vocabularies: Mapping[str, pa.Array] | None = None
    ) -> np.ndarray:
        """Return number columns as a matrix (rows, names); null is NaN.

        A text column is given as positions in its vocabulary (strings), NaN where it is not in it. Raises
        ContractError for a column that is neither a number nor has a vocabulary.
        """
        result = np.empty((self.request.rows, len(names)), dtype)
        blocks: dict[tuple[int, str], tuple[ViewRows, list[int], list[str]]] = {}
        for place, name in enumerate(names):
            stored = None if name in self.on_demand else self.stored[name]
            if vocabularies is not None and name in vocabularies:
                result[:, place] = self._codes(name, stored, vocabularies[name])
            elif stored is None or not isinstance(stored[1].rows, Rows) or not stored[0].is_number(stored[2]):
                result[:, place] = number_values(name, self.array(name))
            else:
                read, rows, feature = stored
                kind = read.view.layout.stored_dtype(feature)
                _, places, features = blocks.setdefault((id(rows), kind), (rows, [], []))
                places.append(place)
                features.append(feature)
        for rows, places, features in blocks.values():
            result[:, as_slice(places)] = rows.spread(_block(rows.rows, features, dtype))
        return result

    def _codes(self, name: str, stored: tuple[ViewRead, ViewRows, str] | None, vocabulary: pa.Array) -> np.ndarray:
        """Return float64 positions of a text column in a vocabulary, looked up once per distinct key."""
        if stored is None or not isinstance(stored[1].rows, Rows):
            return _positions(self.array(name), vocabulary)
        _, rows, feature = stored
        return rows.spread(_positions(rows.rows.array(feature), vocabulary))


def _block(rows: Rows, features: Sequence[str], dtype: type[np.floating]) -> np.ndarray:
    """Return number features of distinct rows as floats, null is NaN."""
    block = rows.number_block(features)
    # Long integers are rounded twice on their way to float32, as a table of Arrow columns is.
    values = block.astype(np.float64).astype(dtype) if block.dtype.kind == "i" else block.astype(dtype)
    nulls = rows.null_block(features)
    if nulls is not None:
        values[nulls] = np.nan
    return values


def _positions(column: pa.Array, vocabulary: pa.Array) -> np.ndarray:
    return pc.index_in(column.cast(pa.string()), value_set=vocabulary).to_numpy(zero_copy_only=False).astype(np.float64)


def number_values(name: str, column: pa.Array) -> np.ndarray:
    """Return a column as floats, null is NaN; raises ContractError for one that is not a number."""
    if pa.types.is_floating(column.type):
        return column.to_numpy(zero_copy_only=False)
    values, nulls = number_column(name, column)
    return values if nulls is None else np.where(nulls, np.nan, values)


def number_column(name: str, column: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a column as (numbers, null mask or None); raises ContractError for one that is not a number."""
    kind = column.type
    nulls = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
    if pa.types.is_null(kind):
        return np.zeros(len(column)), nulls
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", kind.tz), safe=False).view(pa.int64())
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise ContractError(
            f"column {name}",
            expected="a number, a boolean or a time",
            got=str(kind),
            fix="Leave it out of the model's columns, or compute a number from it in an on-demand view.",
        )
    return column.fill_null(0).to_numpy(zero_copy_only=False), nulls
