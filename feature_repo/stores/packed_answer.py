"""A planned request, answered from the packed store: columns that are decoded when they are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.errors import ContractError
from feature_repo.on_demand.shared import Shared, Values
from feature_repo.stores.packed import Field
from feature_repo.stores.packed_found import ViewRows
from feature_repo.stores.packed_on_demand import ARROW_TAG, compute, pair_function, transform
from feature_repo.stores.packed_request import Plan, RequestColumns, ViewRead
from feature_repo.stores.packed_rows import Rows
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
    def on_demand(self) -> dict[str, np.ndarray | pa.Array]:
        """The columns asked for of on-demand views: Arrow, or float32 with NaN for null."""
        given = {name: Shared(Values(column)) for name, column in {**self.request.keys, **self.request.data}.items()}
        computed: dict[str, np.ndarray | pa.Array] = {}
        for step in self.plan.on_demand_steps:
            own = {name: (self.rows[read], feature) for name, (read, feature) in step.inputs.items()}
            function = pair_function(step.view)
            if function is not None:
                columns = {**given, **{name: rows.shared(feature) for name, (rows, feature) in own.items()}}
                computed |= compute(function, step.view, columns, self.plan)
                continue
            # Functions on Arrow take shared lists by number, Feast's own way by pandas does not.
            column = ViewRows.lists if ARROW_TAG in step.view.tags else ViewRows.array
            inputs = {**self.request.keys, **self.request.data, **{name: column(*place) for name, place in own.items()}}
            computed |= transform(step.view, pa.table(inputs), self.plan)
        return computed

    def part(self, start: int, rows: int) -> Answer:
        """Return some of the rows; what is computed on demand stays computed."""
        keys, data = ({n: c.slice(start, rows) for n, c in c.items()} for c in (self.request.keys, self.request.data))
        own = Answer(self.plan, RequestColumns(keys, data, rows), [view.part(start, rows) for view in self.rows])
        own.on_demand = {name: column[start : start + rows] for name, column in self.on_demand.items()}
        return own

    def array(self, name: str) -> pa.Array:
        """Return one column that was asked for, as Arrow."""
        if name in self.stored:
            _, rows, feature = self.stored[name]
            return rows.array(feature)
        column = self.on_demand[name]
        return pa.array(column, from_pandas=True) if isinstance(column, np.ndarray) else column

    def columns(self) -> list[pa.Array]:
        """Return the columns that were asked for, in order."""
        stored = self.stored
        return [self._plain(*stored[name]) if name in stored else self.array(name) for name in self.plan.outputs]

    @staticmethod
    def _plain(read: ViewRead, rows: ViewRows, feature: str) -> pa.Array:
        """Return one stored column as Arrow, values of a rarer type as what they stand for."""
        column = rows.array(feature)
        if not read.view.layout.by_name[feature].opaque:
            return column
        return pa.array(plain_values(column, read.value_types[feature]))

    def field(self, name: str) -> Field | None:
        """Return the stored field of a column, None for one that was computed on demand."""
        if name not in self.stored:
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
        self.fill(result, names, range(len(names)), vocabularies)
        return result

    def fill(
        self,
        result: np.ndarray,
        names: Sequence[str],
        places: Sequence[int],
        vocabularies: Mapping[str, pa.Array] | None = None,
    ) -> None:
        """Write columns into a matrix (rows, columns) of floats at these places, as `matrix` gives them."""
        texts = vocabularies or {}
        for step in self.plan.stored_steps(tuple(names), tuple(places), frozenset(texts)):
            rows = self.rows[step.read]
            if isinstance(rows.rows, Rows):
                rows.rows.fill(result, step.places, step.features, rows.index)
                continue
            for place, feature in zip(step.each, step.features, strict=True):
                result[:, place] = number_values(feature, rows.array(feature))
        for place, name in zip(places, names, strict=True):
            if name in texts:
                result[:, place] = self._codes(name, texts[name])
            elif name not in self.stored:
                column = self.on_demand[name]
                result[:, place] = column if isinstance(column, np.ndarray) else number_values(name, column)
            elif not self.stored[name][0].is_number(self.stored[name][2]):
                result[:, place] = number_values(name, self.array(name))

    def _codes(self, name: str, vocabulary: pa.Array) -> np.ndarray:
        """Return float64 positions of a text column in a vocabulary, looked up once per distinct key."""
        if name not in self.stored:
            return _positions(self.array(name), vocabulary)
        _, rows, feature = self.stored[name]
        values = rows.rows.values(feature)
        return rows.spread(values.made(id(vocabulary), lambda array: _positions(array, vocabulary)))


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
