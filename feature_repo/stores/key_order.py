"""The order of keys: whether rows lie in it, and which part of it a key belongs to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_GLANCE = 1 << 10


def strictly_ascending(columns: Sequence[pa.Array]) -> bool:
    """Whether each row's key is greater than the one before; key columns without nulls.

    >>> strictly_ascending([pa.array([1, 1, 2]), pa.array(["a", "b", "a"])])
    True
    """
    return _ascending([column.slice(0, _GLANCE) for column in columns]) and _ascending(columns)


def _ascending(columns: Sequence[pa.Array]) -> bool:
    rows = len(columns[0])
    tied = np.ones(max(rows - 1, 0), bool)
    for column in columns:
        before, after = column.slice(0, max(rows - 1, 0)), column.slice(1)
        if (tied & _bools(pc.greater(before, after))).any():
            return False
        tied &= _bools(pc.equal(before, after))
    return not tied.any()


def quantiles(samples: Sequence[pa.Array], pieces: int) -> pa.Array:
    """Return the distinct values of a sample that cut it into about so many pieces of equal size, ascending."""
    values = pa.concat_arrays(samples)
    values = values.take(pc.sort_indices(values))
    places = np.arange(1, pieces) * len(values) // pieces
    return values.take(pa.array(places)).unique()


def piece_numbers(values: pa.Array, bounds: pa.Array) -> np.ndarray:
    """Return for each value how many of the ascending bounds it has reached."""
    encoded = values.dictionary_encode()
    reached = np.zeros(len(encoded.dictionary), np.int64)
    for bound in bounds:
        reached += _bools(pc.greater_equal(encoded.dictionary, bound))
    return reached[encoded.indices.to_numpy()]


def _bools(array: pa.Array) -> np.ndarray:
    return array.to_numpy(zero_copy_only=False)
