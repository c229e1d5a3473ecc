"""A planned request, answered from the packed store: columns that are decoded when they are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from feature_repo.stores.packed import Field
from feature_repo.stores.packed_on_demand import inputs_of, transform
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
            (read.feature_view.projection.name, feature): (lambda rows=rows, feature=feature: rows.array(feature))
            for read, rows in zip(self.plan.reads, self.rows, strict=True)
            for feature in read.features
        }
        computed: dict[str, pa.Array] = {}
        for view in self.plan.on_demand:
            inputs = pa.table({**self.request.keys, **self.request.data, **inputs_of(view, features)})
            computed.update(transform(view, inputs, self.plan))
        return computed

    def array(self, name: str) -> pa.Array:
        """Return one column that was asked for, as Arrow."""
        if name in self.on_demand:
            return self.on_demand[name]
        _, rows, feature = self.stored[name]
        return rows.array(feature)

    def plain(self, name: str) -> pa.Array:
        """Return one column as Arrow, values of a rarer type as what they stand for."""
        field, column = self.field(name), self.array(name)
        if field is None or not field.opaque:
            return column
        read, _, feature = self.stored[name]
        return pa.array(plain_values(column, read.value_types[feature]))

    def field(self, name: str) -> Field | None:
        """Return the stored field of a column, None for one that was computed on demand."""
        if name in self.on_demand:
            return None
        read, _, feature = self.stored[name]
        return read.view.layout.by_name[feature]

    def numbers(self, name: str) -> tuple[np.ndarray, np.ndarray | None] | None:
        """Return a stored number column as (values, null mask or None), None for any other column."""
        field = self.field(name)
        if field is None or not field.is_number:
            return None
        _, rows, feature = self.stored[name]
        return rows.numbers(feature)
