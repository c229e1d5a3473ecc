"""From a feature table to the matrix that a model reads: learned in training, kept in the manifest, used by both paths.

Numbers and flags become float32; texts become codes of a vocabulary learned in training (unknown: NaN); nulls become
NaN. Keys, times and lists are no features: a time only counts as a difference, which an on-demand view takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.columns import CUT, ITEM, LABEL, TIME, USER
from feature_repo.errors import ContractError

Kind = Literal["number", "category"]
MAX_CATEGORIES: Final = 256
_BLOCK: Final = 1 << 14
"""So many rows of a matrix are filled at a time: they stay in the caches while column after column comes."""
_KEYS: Final = frozenset({USER, ITEM, TIME, CUT, LABEL})


@dataclass(frozen=True)
class Column:
    """One matrix column: its feature, how it is read, and the texts that the codes 0, 1, ... stand for."""

    name: str
    kind: Kind
    vocabulary: tuple[str, ...] = ()


@dataclass(frozen=True)
class Encoding:
    """The columns of the matrix, in order."""

    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def categories(self) -> list[int]:
        """Positions of the columns that hold codes."""
        return [place for place, column in enumerate(self.columns) if column.kind == "category"]

    def encode(self, features: pa.Table) -> np.ndarray:
        """Return float32 (rows, columns); raise ContractError where the table lacks a column."""
        matrix = np.empty((features.num_rows, len(self.columns)), np.float32)
        self.fill(features, matrix)
        return matrix

    def fill(self, features: pa.Table, matrix: np.ndarray) -> None:
        """Write the rows of a table to as many rows of a matrix; raise ContractError where it lacks a column."""
        there = set(features.column_names)
        missing = [name for name in self.names if name not in there]
        if missing:
            raise ContractError(
                "the feature table",
                expected=f"the columns of the model ({len(self.columns)})",
                got=f"none named {', '.join(missing)}",
                fix="Train again, or bring the features back: `rankhouse train`.",
            )
        for start in range(0, features.num_rows, _BLOCK):
            block = features.slice(start, _BLOCK)
            for place, column in enumerate(self.columns):
                matrix[start : start + _BLOCK, place] = _values(block[column.name], column)


def learn_encoding(tables: Sequence[pa.Table]) -> Encoding:
    """Learn columns and vocabularies from the training tables (one per cut, same columns)."""
    fields = [field for field in tables[0].schema if field.name not in _KEYS]
    columns = []
    for field in fields:
        if is_number(field.type):
            columns.append(Column(field.name, "number"))
        elif is_text(field.type):
            columns.append(Column(field.name, "category", _vocabulary([table[field.name] for table in tables])))
    return Encoding(tuple(columns))


def _values(values: pa.ChunkedArray, column: Column) -> np.ndarray:
    if column.kind == "category":
        values = pc.index_in(values.cast(pa.string()), value_set=pa.array(column.vocabulary, pa.string()))
    elif pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    if not pa.types.is_float32(values.type):
        # Through float64: a cast that would round an integer is an error in Arrow, a rounded float is not.
        values = values.cast(pa.float64(), safe=False)
    numbers = values.to_numpy().astype(np.float32, copy=False)
    return np.where(np.isinf(numbers), np.nan, numbers)


def _vocabulary(values: list[pa.ChunkedArray]) -> tuple[str, ...]:
    """The most frequent texts (equal counts: the smaller text), in text order."""
    texts = pa.chunked_array([chunk.cast(pa.string()) for part in values for chunk in part.chunks], pa.string())
    counts = pc.value_counts(texts.drop_null())
    table = pa.table({"text": counts.field("values"), "count": counts.field("counts")})
    kept = table.sort_by([("count", "descending"), ("text", "ascending")]).slice(0, MAX_CATEGORIES)
    return tuple(sorted(kept["text"].to_pylist()))


def is_number(kind: pa.DataType) -> bool:
    return (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
