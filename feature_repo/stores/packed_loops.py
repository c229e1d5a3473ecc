"""A loop from packed records to a matrix, in machine code: some records at a time, where NumPy would go through all of
them once per feature. Whoever calls it imports this module where it is called: a process compiles it once.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit, types

REAL, WHOLE, SHORT = range(3)
KINDS: Final = {"<f4": REAL, "<i4": WHOLE, "u1": SHORT}
"""Kinds of features by how they are stored; those of eight bytes are left to NumPy."""
_NULL: Final = np.uint32(0x7FC00000)
"""NaN of 32 bits, as NumPy has it."""
_AT_ONCE: Final = 128
"""So many records stay in the processor's nearest caches."""

_bytes, _rows = (types.Array(kind, 1, "C", readonly=True) for kind in (types.uint8, types.int64))
_fields = types.Array(types.int64, 2, "C", readonly=True)


@njit(inline="always")
def _word(records, place):
    """Return the four bytes from a place on; one load for the processor."""
    return (
        np.uint32(records[place])
        | np.uint32(records[place + np.uintp(1)]) << np.uint32(8)
        | np.uint32(records[place + np.uintp(2)]) << np.uint32(16)
        | np.uint32(records[place + np.uintp(3)]) << np.uint32(24)
    )


@njit(
    types.void(_bytes, _rows, types.int64, _fields, types.float32[:, ::1], types.uint32[:, ::1]), nogil=True
)  # fmt: skip
def write_floats(records, rows, width, fields, out, bits):
    """Write features of the records that `rows` number into `out` (columns, rows); null is NaN.

    `fields` (features, 5): kind, place in the record, of its null's byte, that bit, column. `bits`: `out` as whole
    numbers.
    """
    for first in range(0, len(rows), _AT_ONCE):
        end = min(first + _AT_ONCE, len(rows))
        for number in range(len(fields)):
            kind, place, null = fields[number, 0], np.uintp(fields[number, 1]), np.uintp(fields[number, 2])
            bit, column = np.uint8(fields[number, 3]), np.uintp(fields[number, 4])
            if kind == REAL:
                for row in range(first, end):
                    start = np.uintp(rows[np.uintp(row)] * width)
                    value = _word(records, start + place)
                    bits[column, np.uintp(row)] = _NULL if records[start + null] & bit else value
            elif kind == WHOLE:
                for row in range(first, end):
                    start = np.uintp(rows[np.uintp(row)] * width)
                    value = np.float32(np.int32(_word(records, start + place)))
                    out[column, np.uintp(row)] = np.float32(np.nan) if records[start + null] & bit else value
            else:
                for row in range(first, end):
                    start = np.uintp(rows[np.uintp(row)] * width)
                    value = np.float32(records[start + place])
                    out[column, np.uintp(row)] = np.float32(np.nan) if records[start + null] & bit else value
