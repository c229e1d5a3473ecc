"""Packed records opened column by column: Arrow arrays of all rows, or of those that a request names.

Whatever is decoded once stays with the rows, so that rows which are held in memory answer by copying alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Final, Self

import numpy as np
import pyarrow as pa

from feature_repo.on_demand.shared import Values
from feature_repo.stores.packed import NUMBERS, SHIFT, Field, Layout, arrow_lists, arrow_numbers

_MOST_MATRICES: Final = 8
"""How many sets of columns are kept as matrices; a model has one or two."""
_BY_HAND: Final = 4
"""A user's own view has one row and the blank one."""
_FEW: Final = 2048
"""A request has no more rows than that; a batch has, and its loop is worth to be compiled."""


class Rows:
    """Records of one schema; `raw` is their fixed part as a structured array, `size` the bytes of them all."""

    def __init__(self, layout: Layout, records: Sequence[bytes]) -> None:
        self.layout = layout
        width = layout.dtype.itemsize
        joined = b"".join(records)
        if layout.slots:
            starts = np.fromiter(accumulate(map(len, records), initial=0), np.int64, len(records) + 1)[:-1]
            self._joined, self._bytes = joined, np.frombuffer(joined, np.uint8)
            self.raw = _gather(self._bytes, starts, f"V{width}").view(layout.dtype)
            self._tails = starts + width
        else:
            self.raw = np.frombuffer(joined, layout.dtype)
        self.size = len(joined)
        self._forget()

    @classmethod
    def of_one_width(cls, layout: Layout, raw: np.ndarray) -> Self:
        """Open records that are all fixed part."""
        rows = cls(layout, [])
        rows.raw, rows.size = raw, raw.nbytes
        rows._forget()
        return rows

    def _forget(self) -> None:
        self._all_valid = not self.raw["nulls"].any()
        self._values: dict[str, Values] = {}
        self._sides: dict[pa.DataType, tuple[np.ndarray, np.ndarray | None]] = {}
        self._matrices: dict[tuple, np.ndarray] = {}
        self._ragged: dict[str, Ragged] = {}
        self._masks: dict[str, np.ndarray | None] = {}
        self.__dict__.pop("_null_bits", None)

    @cached_property
    def event(self) -> np.ndarray:
        """Event times in int64 microseconds; the blank record's is the smallest int64."""
        return unshift(self.raw["event"])

    def blank(self, where: np.ndarray) -> None:
        """Make every feature null in the rows that the mask names."""
        self.raw = self.raw.copy()
        self.raw["nulls"][where] = 255
        self._forget()

    def nulls(self, name: str) -> np.ndarray | None:
        """Return the mask of null rows, or None where there is none."""
        if self._all_valid:
            return None
        if name not in self._masks:
            mask = self._null_mask(self.layout.position[name])
            self._masks[name] = mask if mask.any() else None
        return self._masks[name]

    def _null_mask(self, position: int) -> np.ndarray:
        if len(self.raw) <= _BY_HAND:
            return self._null_bits[:, position]
        return (self.raw["nulls"][:, position >> 3] >> (position & 7) & 1).view(bool)

    def null_block(self, names: tuple[str, ...]) -> np.ndarray | None:
        """Return the null marks of several features as a matrix (rows, names), or None where there is none."""
        if self._all_valid:
            return None
        return self._null_bits[:, self.layout.marks(names)]

    @cached_property
    def _null_bits(self) -> np.ndarray:
        return np.unpackbits(self.raw["nulls"], axis=1, bitorder="little").view(bool)

    def numbers(self, name: str) -> np.ndarray:
        """Return a number feature's values as they are stored; times as int64, booleans as uint8, nulls arbitrary."""
        return self.raw[f"f{self.layout.position[name]}"]

    def number_block(self, names: tuple[str, ...]) -> np.ndarray:
        """Return number features that are stored alike as a matrix (rows, names), in their stored dtype."""
        dtype, first, width, columns = self.layout.block(names)
        if not len(self.raw):
            return np.empty((0, len(names)), dtype)
        strides = (self.layout.dtype.itemsize, dtype.itemsize)
        return np.ndarray((len(self.raw), width), dtype, self.raw, first, strides)[:, columns]

    def arrays_like(self, name: str, index: np.ndarray | None = None) -> dict[str, pa.Array]:
        """Return one feature as an Arrow array of its type, of all rows or of those that `index` names, repeats too.

        All number features of the same type come along: they cost little more than one.
        """
        field = self.layout.by_name[name]
        if field.is_number:
            return self._number_arrays(field.type, index)
        if field.is_numbers:
            return {name: self._number_lists(field, index)}
        return {name: self._texts(field) if index is None else self.values(name).array.take(pa.array(index))}

    def array(self, name: str) -> pa.Array:
        """Return one feature as an Arrow array of its type."""
        return self.arrays_like(name)[name]

    def values(self, name: str) -> Values:
        """Return one feature of all rows, and with it whatever else is derived from it."""
        if name not in self._values:
            self._values |= {other: Values(array) for other, array in self.arrays_like(name).items()}
        return self._values[name]

    def floats(self, names: tuple[str, ...], dtype: type[np.floating], index: np.ndarray | None = None) -> np.ndarray:
        """Return number features of all rows, or of those that `index` names, as a matrix (rows, names); null is NaN.

        Not to be written to.
        """
        whole = self._matrices.get((names, dtype))
        if whole is None:
            if len(self._matrices) >= _MOST_MATRICES:
                self._matrices.clear()
            whole = self._matrices[names, dtype] = self._floats(names, dtype)
        return whole if index is None else np.take(whole, index, axis=0)

    def fill(
        self, result: np.ndarray, places: slice | list[int], names: tuple[str, ...], index: np.ndarray | None
    ) -> None:
        """Write `floats` into columns of a matrix (rows, columns); those of a batch, which reads a row once, by a loop
        where the matrix lies column by column."""
        rows = len(self.raw) if index is None else len(index)
        once = rows > _FEW and (names, result.dtype.type) not in self._matrices
        if not once or result.dtype != np.float32 or not result.flags.f_contiguous:
            result[:, places] = self.floats(names, result.dtype.type, index)
            return
        from feature_repo.stores.packed_loops import KINDS, write_floats

        kinds = [KINDS.get(self.layout.stored_dtype(name)) for name in names]
        if None in kinds:
            result[:, places] = self.floats(names, result.dtype.type, index)
            return
        columns = range(places.start, places.stop) if isinstance(places, slice) else places
        where = [self.layout.bytes_of(name) for name in names]
        fields = np.column_stack([kinds, where, columns]).astype(np.int64)
        numbers, out = np.arange(rows) if index is None else index, result.T
        write_floats(self.raw.view(np.uint8), numbers, self.layout.dtype.itemsize, fields, out, out.view(np.uint32))

    def _floats(self, names: tuple[str, ...], dtype: type[np.floating]) -> np.ndarray:
        result = np.empty((len(self.raw), len(names)), dtype)
        for places, alike in self.layout.grouped(names):
            block = self.number_block(alike)
            # Long integers are rounded twice on their way to float32, as a table of Arrow columns is.
            result[:, places] = block.astype(np.float64) if block.dtype.kind == "i" else block
        nulls = self.null_block(names)
        if nulls is not None:
            result[nulls] = np.nan
        return result

    def _number_arrays(self, kind: pa.DataType, index: np.ndarray | None) -> dict[str, pa.Array]:
        """Return the features of one number type; each is a slice of one long array."""
        values, marks = self._side(kind)
        if index is not None:
            values, marks = _columns_of(values, index), None if marks is None else _columns_of(marks, index)
        nulls = marks.reshape(-1) if marks is not None and marks.any() else None
        whole, rows = arrow_numbers(values.reshape(-1), nulls, kind), values.shape[1]
        return {name: whole.slice(i * rows, rows) for i, name in enumerate(self.layout.of_type[kind])}

    def _side(self, kind: pa.DataType) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the features of one number type on their side, (features, rows), and their null marks alike."""
        if kind not in self._sides:
            alike = self.layout.of_type[kind]
            values, marks = np.ascontiguousarray(self.number_block(alike).T), self.null_block(alike)
            self._sides[kind] = values, None if marks is None else np.ascontiguousarray(marks.T)
        return self._sides[kind]

    def _number_lists(self, field: Field, index: np.ndarray | None) -> pa.Array:
        lists, nulls = self._opened(field), self.nulls(field.name)
        if index is not None:
            lists, nulls = lists.take(index), None if nulls is None else nulls[index]
        elements = arrow_numbers(lists.values, lists.missing, field.type.value_type)
        return arrow_lists(field.type, elements, lists.offsets, nulls)

    def _opened(self, field: Field) -> Ragged:
        if field.name not in self._ragged:
            valid, valid_offsets = self._slot(field, 1, "u1")
            values, offsets = self._slot(field, 0, NUMBERS[field.type.value_type])
            missing = _element_nulls(values, offsets, valid, valid_offsets)
            self._ragged[field.name] = Ragged(values, offsets, missing)
        return self._ragged[field.name]

    def _texts(self, field: Field) -> pa.Array:
        """Return strings, bytes, or lists of them."""
        nulls = self.nulls(field.name)
        if not pa.types.is_list(field.type):
            return _strings(field.type, *self._slot(field, 0, "u1"), nulls)
        valid, valid_offsets = self._slot(field, 2, "u1")
        lengths, offsets = self._slot(field, 0, "<i4")
        data, _ = self._slot(field, 1, "u1")
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
        missing = _element_nulls(lengths, offsets, valid, valid_offsets)
        elements = _strings(field.type.value_type, data, ends, missing)
        return arrow_lists(field.type, elements, offsets, nulls)

    def _slot(self, field: Field, which: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
        """Return one slot of every row as (values, offsets of the rows in them)."""
        slot, size = self.layout.slot_start[field.name] + which, np.dtype(dtype).itemsize
        if self._spans is not None:
            return self._cut(slot, size, dtype)
        begins, lengths = self._places
        counts = lengths[:, slot] // size
        offsets = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        if not offsets[-1]:
            return np.empty(0, dtype), offsets
        starts = self._tails + begins[:, slot]
        if (counts == counts[0]).all():
            return _gather(self._bytes, starts, f"V{counts[0] * size}").view(dtype), offsets
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        return _gather(self._bytes, np.repeat(starts, counts) + within * size, dtype), offsets

    @cached_property
    def _spans(self) -> list[tuple[int, list[int]]] | None:
        """Where the tail of each of a few rows begins, and where its slots end; None of many."""
        if len(self.raw) > _BY_HAND:
            return None
        return list(zip(self._tails.tolist(), self.raw["ends"].tolist(), strict=True))

    def _cut(self, slot: int, size: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
        """Return one slot of a few rows: plain slices take a fifth of the time of NumPy's steps for many."""
        parts, offsets = [], [0]
        for tail, ends in self._spans:
            begin = ends[slot - 1] if slot else 0
            parts.append(self._joined[tail + begin : tail + ends[slot]])
            offsets.append(offsets[-1] + (ends[slot] - begin) // size)
        return np.frombuffer(b"".join(parts), dtype), np.array(offsets)

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each slot begins in its row's tail, and its length, both (rows, slots)."""
        ends = self.raw["ends"].astype(np.int64)
        begins = np.zeros_like(ends)
        begins[:, 1:] = ends[:, :-1]
        return begins, ends - begins


@dataclass(frozen=True)
class Ragged:
    """Lists of numbers: list i is `values[offsets[i]:offsets[i + 1]]`; `missing` marks null elements, if any."""

    values: np.ndarray
    offsets: np.ndarray
    missing: np.ndarray | None

    @cached_property
    def _blocks(self) -> tuple[int, np.ndarray] | None:
        """The one length of all lists that are not empty, and the place of each, -1 for an empty one."""
        counts = np.diff(self.offsets)
        width = int(counts.max(initial=0))
        if not width or ((counts != width) & (counts != 0)).any():
            return None
        return width, np.where(counts == 0, -1, self.offsets[:-1] // width)

    def take(self, index: np.ndarray) -> Ragged:
        """Return the lists that `index` names, repeats too."""
        if self._blocks is not None:
            width, places = self._blocks
            chosen = places[index]
            if chosen.min(initial=0) >= 0:
                missing = None if self.missing is None else _blocks_of(self.missing, width, chosen)
                offsets = np.arange(0, (len(index) + 1) * width, width, np.int32)
                return Ragged(_blocks_of(self.values, width, chosen), offsets, missing)
        starts = self.offsets[index]
        counts = self.offsets[1:][index] - starts
        offsets = np.zeros(len(index) + 1, np.int32)
        np.cumsum(counts, out=offsets[1:])
        within = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
        return Ragged(self.values[within], offsets, None if self.missing is None else self.missing[within])


def adopt(layout: Layout, records: Sequence[bytes], written_as: Layout) -> list[bytes]:
    """Rewrite records of another schema: features of the same name and type stay, others are null."""
    old = Rows(written_as, records)
    kept = {f.name: old.array(f.name) for f in layout.fields if written_as.by_name.get(f.name) == f}
    created = np.where(old.raw["created"] == 0, np.iinfo(np.int64).min, unshift(old.raw["created"]))
    return layout.pack(kept, old.event, created).to_list()


def unshift(times: np.ndarray) -> np.ndarray:
    """Turn stored times into int64 microseconds."""
    return (times.astype(np.uint64) ^ np.uint64(SHIFT)).view(np.int64)


def _columns_of(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the columns that `index` names; of a single one all are copies."""
    return np.repeat(values, len(index), axis=1) if values.shape[1] == 1 else np.take(values, index, axis=1)


def _blocks_of(values: np.ndarray, width: int, chosen: np.ndarray) -> np.ndarray:
    """Return blocks of so many values, one after the other."""
    blocks = values.reshape(-1, width)
    if len(blocks) > 1:
        return np.take(blocks, chosen, axis=0).reshape(-1)
    repeated = np.empty((len(chosen), width), values.dtype)
    repeated[:] = blocks[0]
    return repeated.reshape(-1)


def _gather(data: np.ndarray, starts: np.ndarray, dtype: str) -> np.ndarray:
    """Read one value of `dtype` at each byte position; positions need no alignment."""
    size = np.dtype(dtype).itemsize
    if not len(starts):
        return np.empty(0, dtype)
    if size == 1:
        return data[starts].view(dtype)
    return np.ndarray((len(data) - size + 1,), dtype, data, strides=(1,))[starts]


def _element_nulls(
    values: np.ndarray, offsets: np.ndarray, valid: np.ndarray, valid_offsets: np.ndarray
) -> np.ndarray | None:
    """Return the mask of null list elements; a row without any wrote no validity."""
    if not len(valid):
        return None
    marked = np.diff(valid_offsets) > 0
    missing = np.zeros(len(values), bool)
    missing[np.repeat(marked, np.diff(offsets))] = valid == 0
    return missing


def _strings(target: pa.DataType, data: np.ndarray, offsets: np.ndarray, nulls: np.ndarray | None) -> pa.Array:
    validity = None if nulls is None else pa.py_buffer(np.packbits(~nulls, bitorder="little"))
    buffers = [validity, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(target, len(offsets) - 1, buffers)
