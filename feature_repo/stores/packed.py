"""The packed record: one entity's features of one view as bytes, written and read column by column.

    record := event time | created time | schema id | numbers | ends | nulls | tail

Times are microseconds, big-endian and shifted by 2**63, so that comparing the first 16 bytes compares (event, created);
created is zero where there is none, which is older than any. Numbers are little-endian, widest first. Strings, bytes
and lists lie in the tail; `ends` says where each of their slots ends. A set bit in `nulls` marks a null.
The schema id is a hash of names and types: a record of another schema is recognised, never misread.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.errors import DataError
from feature_repo.on_demand.shared import Values

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
SHIFT: Final = 1 << 63
_NUMBERS: Final = {
    pa.int64(): "<i8",
    pa.float64(): "<f8",
    TIMESTAMP: "<i8",
    pa.int32(): "<i4",
    pa.float32(): "<f4",
    pa.bool_(): "u1",
}
_BINARY: Final = pa.large_binary()
_NOTHING: Final = pa.scalar(b"", _BINARY)


@dataclass(frozen=True)
class Field:
    """A feature's name and Arrow type; `opaque` marks bytes that hold a serialised Feast value of a rarer type."""

    name: str
    type: pa.DataType
    opaque: bool = False

    @cached_property
    def is_number(self) -> bool:
        return self.type in _NUMBERS

    @property
    def slots(self) -> int:
        """How many slots of the tail it takes: values; a list also element validity; one of strings also lengths."""
        if not pa.types.is_list(self.type):
            return 0 if self.is_number else 1
        return 2 if self.type.value_type in _NUMBERS else 3


@dataclass(frozen=True)
class Blobs:
    """Many byte strings in one buffer: string i is `data[offsets[i]:offsets[i + 1]]`."""

    data: pa.Buffer
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of(cls, array: pa.Array) -> Blobs:
        """Take the strings of a string or binary array without nulls."""
        array = array.cast(_BINARY)
        offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
        return cls(array.buffers()[2] or pa.py_buffer(b""), offsets)

    @classmethod
    def of_rows(cls, rows: np.ndarray) -> Blobs:
        """Take one string per row of a contiguous array of any fixed-width dtype."""
        width = rows.dtype.itemsize * int(np.prod(rows.shape[1:], dtype=np.int64))
        data = pa.py_buffer(np.ascontiguousarray(rows).view(np.uint8).reshape(-1))
        return cls(data, np.arange(len(rows) + 1, dtype=np.int64) * width)

    def to_arrow(self) -> pa.Array:
        return pa.Array.from_buffers(_BINARY, len(self), [None, pa.py_buffer(self.offsets), self.data])

    def to_list(self) -> list[bytes]:
        return self.to_arrow().to_numpy(zero_copy_only=False).tolist()


class Layout:
    """How the features of one view lie in a record; equal names and types in equal order give equal layouts."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self.by_name = {field.name: field for field in self.fields}
        self.position = {field.name: i for i, field in enumerate(self.fields)}
        self.text = json.dumps([[f.name, "opaque" if f.opaque else str(f.type)] for f in self.fields])
        digest = hashlib.blake2b(self.text.encode(), digest_size=8).digest()
        self.schema = digest
        self.id = int.from_bytes(digest, "little", signed=True)
        self.slot_start, slots = {}, 0
        for field in self.fields:
            self.slot_start[field.name] = slots
            slots += field.slots
        self.slots = slots
        self.dtype = self._dtype()
        self._grouped: dict[tuple[str, ...], list[tuple[slice | list[int], list[str]]]] = {}

    def _dtype(self) -> np.dtype:
        numbers = [(i, np.dtype(_NUMBERS[f.type])) for i, f in enumerate(self.fields) if f.is_number]
        numbers.sort(key=lambda number: -number[1].itemsize)
        parts: list[tuple] = [("event", ">u8"), ("created", ">u8"), ("schema", "<i8")]
        parts += [(f"f{i}", dtype) for i, dtype in numbers if dtype.itemsize > 1]
        parts += [("ends", "<u4", (self.slots,))]
        parts += [(f"f{i}", dtype) for i, dtype in numbers if dtype.itemsize == 1]
        parts += [("nulls", "u1", ((len(self.fields) + 7) // 8,))]
        return np.dtype(parts)

    def stored_dtype(self, name: str) -> str:
        """Return how a number feature is stored."""
        return _NUMBERS[self.by_name[name].type]

    @cached_property
    def of_type(self) -> dict[pa.DataType, list[str]]:
        """The number features of each Arrow type."""
        types = {field.type for field in self.fields if field.is_number}
        return {kind: [field.name for field in self.fields if field.type == kind] for kind in types}

    def grouped(self, names: tuple[str, ...]) -> Sequence[tuple[slice | list[int], list[str]]]:
        """Return number features by how they are stored: places among `names`, and names, in the order of storage."""
        if names not in self._grouped:
            groups: dict[str, list[int]] = {}
            for place, name in enumerate(names):
                groups.setdefault(self.stored_dtype(name), []).append(place)
            self._grouped[names] = [(as_slice(places), [names[i] for i in places]) for places in groups.values()]
        return self._grouped[names]

    @classmethod
    def from_text(cls, text: str) -> Layout:
        """Read the layout that `text` describes, as it is stored beside the records."""
        return cls(
            [Field(name, pa.binary() if t == "opaque" else _TYPES[t], t == "opaque") for name, t in json.loads(text)]
        )

    @cached_property
    def blank(self) -> bytes:
        """The record that stands for an entity without one: no time, every feature null."""
        row = np.zeros(1, self.dtype)
        row["schema"], row["nulls"] = self.id, 255
        return row.tobytes()

    def pack(self, columns: Mapping[str, pa.Array], event: np.ndarray, created: np.ndarray | None) -> Blobs:
        """Write one record per row. Columns have the field's type; a missing one is null in every row.

        `event` and `created` are int64 microseconds; a created time of the smallest int64 means that there is none.
        """
        rows = np.zeros(len(event), self.dtype)
        rows["event"] = event.astype(np.int64).view(np.uint64) ^ np.uint64(SHIFT)
        if created is not None:
            rows["created"] = created.astype(np.int64).view(np.uint64) ^ np.uint64(SHIFT)
        rows["schema"] = self.id
        nulls = np.zeros((len(event), len(self.fields)), bool)
        slots: list[pa.Array] = []
        for i, field in enumerate(self.fields):
            column = columns.get(field.name)
            if column is None:
                column = pa.nulls(len(event), field.type)
            if column.null_count:
                nulls[:, i] = column.is_null().to_numpy(zero_copy_only=False)
            if field.is_number:
                rows[f"f{i}"] = numbers_of(column)
            else:
                slots += _tail(column, field)
        rows["nulls"] = np.packbits(nulls, axis=1, bitorder="little")
        if not slots:
            return Blobs.of_rows(rows)
        lengths = np.stack([pc.binary_length(slot).to_numpy(zero_copy_only=False) for slot in slots], axis=1)
        rows["ends"] = np.cumsum(lengths, axis=1)
        return Blobs.of(pc.binary_join_element_wise(Blobs.of_rows(rows).to_arrow(), *slots, _NOTHING))

    def adopt(self, records: Sequence[bytes], written_as: Layout) -> list[bytes]:
        """Rewrite records of another schema: features of the same name and type stay, others are null."""
        old = Rows(written_as, records)
        kept = {f.name: old.array(f.name) for f in self.fields if written_as.by_name.get(f.name) == f}
        created = np.where(old.raw["created"] == 0, np.iinfo(np.int64).min, unshift(old.raw["created"]))
        return self.pack(kept, old.event, created).to_list()


class Rows:
    """Records of one schema, opened column by column.

    `raw` is the fixed part as a structured array.
    """

    def __init__(self, layout: Layout, records: Sequence[bytes]) -> None:
        self.layout = layout
        width = layout.dtype.itemsize
        joined = b"".join(records)
        if layout.slots:
            starts = np.fromiter(accumulate(map(len, records), initial=0), np.int64, len(records) + 1)[:-1]
            self._bytes = np.frombuffer(joined, np.uint8)
            self.raw = _gather(self._bytes, starts, f"V{width}").view(layout.dtype)
            self._tails = starts + width
        else:
            self.raw = np.frombuffer(joined, layout.dtype)
        self._all_valid = not self.raw["nulls"].any()
        self.size = len(joined)
        self._values: dict[str, Values] = {}

    @cached_property
    def event(self) -> np.ndarray:
        """Event times in int64 microseconds; the blank record's is the smallest int64."""
        return unshift(self.raw["event"])

    def blank(self, where: np.ndarray) -> None:
        """Make every feature null in the rows that the mask names."""
        self.raw = self.raw.copy()
        self.raw["nulls"][where] = 255
        self._all_valid = False
        self._values.clear()
        self.__dict__.pop("_null_bits", None)

    def nulls(self, name: str, index: np.ndarray | None = None) -> np.ndarray | None:
        """Return the mask of null rows, of all or of those that `index` names, or None where there is none."""
        if self._all_valid:
            return None
        i = self.layout.position[name]
        marks = self.raw["nulls"][:, i >> 3]
        mask = ((marks if index is None else marks[index]) >> (i & 7) & 1).view(bool)
        return mask if mask.any() else None

    def null_block(self, names: Sequence[str]) -> np.ndarray | None:
        """Return the null marks of several features as a matrix (rows, names), or None where there is none."""
        if self._all_valid:
            return None
        return self._null_bits[:, as_slice([self.layout.position[name] for name in names])]

    @cached_property
    def _null_bits(self) -> np.ndarray:
        return np.unpackbits(self.raw["nulls"], axis=1, bitorder="little").view(bool)

    def numbers(self, name: str) -> np.ndarray:
        """Return a number feature's values as they are stored; times as int64, booleans as uint8, nulls arbitrary."""
        return self.raw[f"f{self.layout.position[name]}"]

    def number_block(self, names: Sequence[str]) -> np.ndarray:
        """Return number features that are stored alike as a matrix (rows, names), in their stored dtype."""
        fields = self.layout.dtype.fields
        places = [fields[f"f{self.layout.position[name]}"] for name in names]
        dtype, first = places[0][0], min(place[1] for place in places)
        if not len(self.raw):
            return np.empty((0, len(names)), dtype)
        width = (max(place[1] for place in places) - first) // dtype.itemsize + 1
        strides = (self.layout.dtype.itemsize, dtype.itemsize)
        block = np.ndarray((len(self.raw), width), dtype, self.raw, first, strides)
        return block[:, as_slice([(place[1] - first) // dtype.itemsize for place in places])]

    def arrays_like(self, name: str, index: np.ndarray | None = None) -> dict[str, pa.Array]:
        """Return one feature as an Arrow array of its type, of all rows or of those that `index` names, repeats too.

        All number features of the same type come along: they cost little more than one.
        """
        field = self.layout.by_name[name]
        if field.is_number:
            return self._number_arrays(field.type, index)
        nulls = self.nulls(name, index)
        if pa.types.is_list(field.type):
            return {name: self._lists(field, nulls, index)}
        data, offsets = self._slot(field, 0, "u1", index)
        return {name: _strings(field.type, data, offsets, nulls)}

    def array(self, name: str) -> pa.Array:
        """Return one feature as an Arrow array of its type."""
        return self.arrays_like(name)[name]

    def values(self, name: str) -> Values:
        """Return one feature of all rows, and with it whatever else is derived from it."""
        if name not in self._values:
            self._values |= {other: Values(array) for other, array in self.arrays_like(name).items()}
        return self._values[name]

    def floats(self, names: tuple[str, ...], dtype: type[np.floating]) -> np.ndarray:
        """Return number features of all rows as a matrix (rows, names), null is NaN."""
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
        """Turn the features of one number type on their side at once; each is a slice of one long array."""
        alike = self.layout.of_type[kind]
        block = self.number_block(alike)
        values = np.ascontiguousarray((block if index is None else block[index]).T)
        nulls, marks = None, self.null_block(alike)
        if marks is not None:
            marks = marks if index is None else marks[index]
            nulls = marks.T.reshape(-1) if marks.any() else None
        whole, rows = arrow_numbers(values.reshape(-1), nulls, kind), values.shape[1]
        return {name: whole.slice(i * rows, rows) for i, name in enumerate(alike)}

    def _slot(self, field: Field, which: int, dtype: str, index: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return one slot of every row as (values, offsets of the rows in them)."""
        slot, size = self.layout.slot_start[field.name] + which, np.dtype(dtype).itemsize
        if len(self.raw) == 1:
            begin, end = self._bounds[slot : slot + 2]
            repeats = 1 if index is None else len(index)
            length = (end - begin) // size
            return np.tile(self._bytes[begin:end], repeats).view(dtype), np.arange(repeats + 1) * length
        begins, lengths = self._places
        counts = lengths[:, slot] if index is None else lengths[:, slot][index]
        offsets = np.zeros(len(counts) + 1, np.int64)
        if not counts.any():
            return np.empty(0, dtype), offsets
        counts = counts // size
        np.cumsum(counts, out=offsets[1:])
        rows = slice(None) if index is None else index
        starts = self._tails[rows] + begins[:, slot][rows]
        if (counts == counts[0]).all():
            return _gather(self._bytes, starts, f"V{counts[0] * size}").view(dtype), offsets
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        return _gather(self._bytes, np.repeat(starts, counts) + within * size, dtype), offsets

    @cached_property
    def _bounds(self) -> list[int]:
        """Where the slots of the only row begin, and where the last one ends: a request has one user."""
        first = int(self._tails[0])
        return [first, *(first + end for end in self.raw["ends"][0].tolist())]

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each slot begins in its row's tail, and its length, both (rows, slots)."""
        ends = self.raw["ends"].astype(np.int64)
        begins = np.zeros_like(ends)
        begins[:, 1:] = ends[:, :-1]
        return begins, ends - begins

    def _lists(self, field: Field, nulls: np.ndarray | None, index: np.ndarray | None) -> pa.Array:
        item = field.type.value_type
        valid, valid_offsets = self._slot(field, field.slots - 1, "u1", index)
        if item in _NUMBERS:
            values, offsets = self._slot(field, 0, _NUMBERS[item], index)
            elements = arrow_numbers(values, _element_nulls(values, offsets, valid, valid_offsets), item)
        else:
            lengths, offsets = self._slot(field, 0, "<i4", index)
            data, _ = self._slot(field, 1, "u1", index)
            ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
            elements = _strings(item, data, ends, _element_nulls(lengths, offsets, valid, valid_offsets))
        mask = None if nulls is None else pa.array(nulls)
        starts = pa.array(offsets.astype(np.int32))
        return pa.ListArray.from_arrays(starts, elements, type=field.type, mask=mask)


_TYPES: Final = {str(t): t for item in (*_NUMBERS, pa.string(), pa.binary()) for t in (item, pa.list_(item))}
SUPPORTED: Final = frozenset(_TYPES.values())


def unshift(times: np.ndarray) -> np.ndarray:
    """Turn stored times into int64 microseconds."""
    return (times.astype(np.uint64) ^ np.uint64(SHIFT)).view(np.int64)


def as_slice(places: list[int]) -> slice | list[int]:
    """Return the slice that names these places where there is one: NumPy is many times faster with it."""
    ordered = places == list(range(places[0], places[0] + len(places)))
    return slice(places[0], places[0] + len(places)) if ordered else places


def stored_time(time: int) -> bytes:
    """Return a time in microseconds as a record stores it, in bytes that compare like the time."""
    return (time + SHIFT).to_bytes(8, "big")


def conform(column: pa.Array, target: pa.DataType, where: str) -> pa.Array:
    """Cast a column to a feature's type; raises DataError where a value does not fit."""
    if column.type == target:
        return column
    try:
        if target == TIMESTAMP and pa.types.is_timestamp(column.type):
            return column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(target)
        return column.cast(target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as problem:
        raise DataError(
            where,
            expected=f"values that fit {target}",
            got=f"{column.type}: {problem}",
            fix="Correct the source or the field's declared type.",
        ) from problem


def numbers_of(column: pa.Array) -> np.ndarray:
    """Return a number column as NumPy: times as int64, booleans as uint8, nulls as zero."""
    if column.type == TIMESTAMP:
        column = column.view(pa.int64())
    elif column.type == pa.bool_():
        column = column.cast(pa.uint8())
    if column.null_count:
        column = column.fill_null(0)
    return column.to_numpy(zero_copy_only=False)


def arrow_numbers(values: np.ndarray, nulls: np.ndarray | None, target: pa.DataType) -> pa.Array:
    """Return stored numbers as an Arrow array of the feature's type."""
    if target == TIMESTAMP:
        return pa.array(values, pa.int64(), mask=nulls).view(TIMESTAMP)
    if target == pa.bool_():
        return pa.array(values.astype(bool), mask=nulls)
    return pa.array(np.ascontiguousarray(values), mask=nulls, from_pandas=False)


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


def _tail(column: pa.Array, field: Field) -> list[pa.Array]:
    """Return the slots of a string, bytes or list column, each one binary string per row."""
    if not pa.types.is_list(field.type):
        return [column.cast(_BINARY).fill_null(b"")]
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    elements = column.flatten()
    validity = _validity(elements, offsets)
    if elements.type in _NUMBERS:
        return [_sliced(numbers_of(elements), offsets), validity]
    blobs = Blobs.of(elements.cast(_BINARY).fill_null(b""))
    sizes = np.diff(blobs.offsets).astype("<i4")
    data = Blobs(blobs.data, np.ascontiguousarray(blobs.offsets[offsets]))
    return [_sliced(sizes, offsets), data.to_arrow(), validity]


def _validity(elements: pa.Array, offsets: np.ndarray) -> pa.Array:
    """Return one byte per element for the rows that hold a null element, nothing for the others."""
    if not elements.null_count:
        return Blobs(pa.py_buffer(b""), np.zeros(len(offsets), np.int64)).to_arrow()
    valid = elements.is_valid().to_numpy(zero_copy_only=False)
    seen = np.concatenate([np.zeros(1, np.int64), np.cumsum(~valid)])
    marked = np.repeat(np.diff(seen[offsets]) > 0, np.diff(offsets))
    kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(marked)])
    return _sliced(valid[marked].astype("u1"), kept[offsets])


def _sliced(values: np.ndarray, offsets: np.ndarray) -> pa.Array:
    data = pa.py_buffer(np.ascontiguousarray(values).view(np.uint8).reshape(-1))
    return Blobs(data, offsets * values.dtype.itemsize).to_arrow()
