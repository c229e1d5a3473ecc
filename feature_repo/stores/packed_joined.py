"""Users' records as the database joins them, each user's in one piece, found again by the last parts of their keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.stores.packed_keys import INTEGER_BYTES
from feature_repo.stores.packed_rows import unshift

if TYPE_CHECKING:
    from feature_repo.stores.packed_keys import KeyCodec, Run

Placed = tuple[np.ndarray, np.ndarray]
"""The record of each asked row, -1 for none, and the records as bytes (rows,) of one width."""
_MOST: Final = 1 << 62


@dataclass(frozen=True)
class Apart:
    """A user's records, and the last parts of their keys with their lengths as numbers in text, each in one piece."""

    parts: bytes
    lengths: bytes
    records: bytes

    def cut(self, keys: KeyCodec, width: int) -> tuple[pa.Array, np.ndarray] | None:
        """Return last parts and records; None where the records are not all so wide."""
        lengths = np.array(self.lengths.split(), np.int64)
        if len(self.records) != len(lengths) * width:
            return None
        return keys.split(self.parts, lengths), np.frombuffer(self.records, f"V{width}")


@dataclass(frozen=True)
class Mixed:
    """A user's records, each but the first behind its whole key, which ends in an integer; `first`: that one's key."""

    first: bytes
    records: bytes


Joined = Apart | Mixed


def apart(found: Mixed, width: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the integers that one user's keys end in, ascending, and the records; None as `placed` does."""
    cut = _cut([found], width)
    if cut is None or (cut[1][1:] <= cut[1][:-1]).any():
        return None
    return cut[1], cut[2]


def placed(found: Sequence[Joined], runs: Sequence[Run], keys: KeyCodec, width: int) -> Placed | None:
    """Find the rows of runs among what was joined for them; None where records are not all so wide."""
    if all(isinstance(one, Mixed) for one in found):
        return _by_number(found, runs, width)
    places, records, before = [], [], 0
    for one, run in zip(found, runs, strict=True):
        cut = one.cut(keys, width)
        if cut is None:
            return None
        own = pc.index_in(run.last, cut[0]).cast(pa.int64())
        places.append(pc.add(own, before).fill_null(-1).to_numpy(zero_copy_only=False))
        records.append(cut[1])
        before += len(cut[1])
    return np.concatenate(places), np.concatenate(records)


def _by_number(found: Sequence[Mixed], runs: Sequence[Run], width: int) -> Placed | None:
    """Find rows by the integers that keys end in: those of all users in one search, the user before the integer.

    None, too, where a user's records do not stand in the order of their keys: a statement promises no order without
    asking for one, though a range of keys is read in theirs.
    """
    one_length = len({len(one.first) for one in found if one.first}) <= 1
    parts = [_cut(group, width) for group in ([found] if one_length else [[one] for one in found])]
    if None in parts:
        return None
    counts, keys, records = (np.concatenate(column) for column in zip(*parts, strict=True))
    user = np.repeat(np.arange(len(found)), counts)
    if ((keys[1:] <= keys[:-1]) & (user[1:] == user[:-1])).any():
        return None
    asked = pa.concat_arrays([run.last for run in runs])
    wanted = (asked.fill_null(0) if asked.null_count else asked).to_numpy()
    known = asked.is_valid().to_numpy(zero_copy_only=False)
    low, high = int(keys.min(initial=0)), int(keys.max(initial=0))
    if (high - low + 1) * len(found) < _MOST:
        owner = np.repeat(np.arange(len(found)), [len(run.last) for run in runs])
        known &= (wanted >= low) & (wanted <= high)
        wanted = owner * (high - low + 1) + np.where(known, wanted - low, 0)
        places = _search(user * (high - low + 1) + (keys - low), wanted)
    else:
        ends = np.cumsum(counts).tolist()
        own = [(slice(end - count, end), run.rows) for end, count, run in zip(ends, counts.tolist(), runs, strict=True)]
        places = np.concatenate([_behind(_search(keys[part], wanted[rows]), part.start) for part, rows in own])
    return np.where(known, places, -1), records


def _search(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return where each number stands among ascending ones, -1 for one that does not."""
    if not len(keys):
        return np.full(len(wanted), -1)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, places, -1)


def _behind(places: np.ndarray, start: int) -> np.ndarray:
    return np.where(places < 0, -1, places + start)


def _cut(found: Sequence[Mixed], width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return how many records each user has, the integers of their keys, and the records; keys are of one length.

    None where the records are not all so wide.
    """
    key = max(len(one.first) for one in found)
    sizes = np.array([len(one.first) + len(one.records) for one in found])
    counts, rest = np.divmod(sizes, key + width)
    if rest.any():
        return None
    joined = b"".join(part for one in found for part in (one.first, one.records))
    count = len(joined) // (key + width)
    if not count:
        return counts, np.zeros(0, np.int64), np.zeros(0, f"V{width}")
    keys = np.ndarray(count, ">u8", joined, key - INTEGER_BYTES, (key + width,))
    return counts, unshift(keys), np.ndarray(count, f"V{width}", joined, key, (key + width,))
