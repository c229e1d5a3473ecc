"""A user's records as the database joins them, cut apart again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_repo.stores.packed_rows import unshift

if TYPE_CHECKING:
    from feature_repo.stores.packed_keys import KeyCodec

Cut = tuple[pa.Array, np.ndarray]
"""The last parts of distinct keys, and the record of each, as bytes (rows,) of one width."""


@dataclass(frozen=True)
class Apart:
    """The last parts of keys, one after the other, their lengths as numbers in text, and the records."""

    parts: bytes
    lengths: bytes
    records: bytes

    def cut(self, keys: KeyCodec, head: bytes, width: int) -> Cut | None:
        """Return keys and records; None where the records are not all so wide."""
        lengths = np.array(self.lengths.split(), np.int64)
        if len(self.records) != len(lengths) * width:
            return None
        return keys.split(self.parts, lengths), np.frombuffer(self.records, f"V{width}")


@dataclass(frozen=True)
class Mixed:
    """Records that each, but for the first one, stand behind their whole key, which ends in an integer; the key of the
    first one beside them."""

    first: bytes
    records: bytes

    def cut(self, keys: KeyCodec, head: bytes, width: int) -> Cut | None:
        """Return keys and records; None where the records are not all so wide or do not stand in the keys' order.

        A statement promises no order without asking for one, though a range of keys is read in theirs.
        """
        if not self.records:
            return pa.array([], pa.int64()), np.empty(0, f"V{width}")
        key = len(head) + 8
        count, rest = divmod(len(self.records) + key, width + key)
        if rest:
            return None
        numbers = np.empty(count, ">u8")
        numbers[0] = np.frombuffer(self.first, ">u8", 1, key - 8)[0]
        if count > 1:
            numbers[1:] = np.ndarray(count - 1, ">u8", self.records, width + key - 8, (width + key,))
        numbers = unshift(numbers)
        if not (numbers[1:] > numbers[:-1]).all():
            return None
        return pa.array(numbers), np.ndarray(count, f"V{width}", self.records, 0, (width + key,))


Joined = Apart | Mixed
