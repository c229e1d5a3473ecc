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
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.errors import DataError

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
SHIFT: Final = 1 << 63
NUMBERS: Final = {
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
        return self.type in NUMBERS

    @cached_property
    def is_numbers(self) -> bool:
        """Whether it is a list of numbers."""
        return pa.types.is_list(self.type) and self.type.value_type in NUMBERS

    @property
    def slots(self) -> int:
        """How many slots of the tail it takes: values; a list also element validity; one of strings also lengths."""
        if not pa.types.is_list(self.type):
            return 0 if self.is_number else 1
        return 2 if self.is_numbers else 3


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

    def joined(self) -> bytes:
        """Return the strings one after the other."""
        return self.data.slice(int(self.offsets[0]), int(self.offsets[-1] - self.offsets[0])).to_pybytes()

    def to_arrow(self) -> pa.Array:
        return pa.Array.from_buffers(_BINARY, len(self), [None, pa.py_buffer(self.offsets), self.data])

    def to_list(self) -> list[bytes]:
        return self.to_arrow().to_numpy(zero_copy_only=False).tolist()


class Block(NamedTuple):
    """Number features that are stored alike, as a matrix over the records: `columns` of those that begin at `first`."""

    dtype: np.dtype
    first: int
    width: int
    columns: slice | list[int]


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
        self._grouped: dict[tuple[str, ...], list[tuple[slice | list[int], tuple[str, ...]]]] = {}
        self._blocks: dict[tuple[str, ...], Block] = {}
        self._marks: dict[tuple[str, ...], slice | list[int]] = {}

    def _dtype(self) -> np.dtype:
        numbers = [(i, np.dtype(NUMBERS[f.type])) for i, f in enumerate(self.fields) if f.is_number]
        numbers.sort(key=lambda number: -number[1].itemsize)
        parts: list[tuple] = [("event", ">u8"), ("created", ">u8"), ("schema", "<i8")]
        parts += [(f"f{i}", dtype) for i, dtype in numbers if dtype.itemsize > 1]
        parts += [("ends", "<u4", (self.slots,))]
        parts += [(f"f{i}", dtype) for i, dtype in numbers if dtype.itemsize == 1]
        parts += [("nulls", "u1", ((len(self.fields) + 7) // 8,))]
        return np.dtype(parts)

    def stored_dtype(self, name: str) -> str:
        """Return how a number feature is stored."""
        return NUMBERS[self.by_name[name].type]

    def bytes_of(self, name: str) -> tuple[int, int, int]:
        """Return where a record has a number feature, the byte of its null mark, and that mark's bit."""
        position, fields = self.position[name], self.dtype.fields
        return fields[f"f{position}"][1], fields["nulls"][1] + (position >> 3), 1 << (position & 7)

    @cached_property
    def of_type(self) -> dict[pa.DataType, tuple[str, ...]]:
        """The number features of each Arrow type."""
        types = {field.type for field in self.fields if field.is_number}
        return {kind: tuple(field.name for field in self.fields if field.type == kind) for kind in types}

    def block(self, names: tuple[str, ...]) -> Block:
        """Return where number features lie that are stored alike."""
        if names not in self._blocks:
            places = [self.dtype.fields[f"f{self.position[name]}"] for name in names]
            dtype, first = places[0][0], min(place[1] for place in places)
            width = (max(place[1] for place in places) - first) // dtype.itemsize + 1
            columns = as_slice([(place[1] - first) // dtype.itemsize for place in places])
            self._blocks[names] = Block(dtype, first, width, columns)
        return self._blocks[names]

    def marks(self, names: tuple[str, ...]) -> slice | list[int]:
        """Return which of a record's null marks are those of some features."""
        if names not in self._marks:
            self._marks[names] = as_slice([self.position[name] for name in names])
        return self._marks[names]

    def grouped(self, names: tuple[str, ...]) -> Sequence[tuple[slice | list[int], tuple[str, ...]]]:
        """Return number features by how they are stored: places among `names`, and names, in the order of storage."""
        if names not in self._grouped:
            groups: dict[str, list[int]] = {}
            for place, name in enumerate(names):
                groups.setdefault(self.stored_dtype(name), []).append(place)
            self._grouped[names] = [(as_slice(own), tuple(names[i] for i in own)) for own in groups.values()]
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


_TYPES: Final = {str(t): t for item in (*NUMBERS, pa.string(), pa.binary()) for t in (item, pa.list_(item))}
SUPPORTED: Final = frozenset(_TYPES.values())


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
    if target == TIMESTAMP and nulls is not None:
        return pa.array(values, pa.int64(), mask=nulls).view(TIMESTAMP)
    if target == pa.bool_():
        return pa.array(values.astype(bool), mask=nulls)
    if nulls is None:
        return pa.Array.from_buffers(target, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])
    return pa.array(np.ascontiguousarray(values), mask=nulls, from_pandas=False)


def arrow_lists(kind: pa.ListType, elements: pa.Array, offsets: np.ndarray, nulls: np.ndarray | None) -> pa.Array:
    """Return lists of a type, their elements one after the other; from the buffers, in a third of Arrow's own time."""
    validity = None if nulls is None else pa.py_buffer(np.packbits(~nulls, bitorder="little"))
    buffers = [validity, pa.py_buffer(offsets.astype(np.int32, copy=False))]
    return pa.Array.from_buffers(kind, len(offsets) - 1, buffers, children=[elements])


def _tail(column: pa.Array, field: Field) -> list[pa.Array]:
    """Return the slots of a string, bytes or list column, each one binary string per row."""
    if not pa.types.is_list(field.type):
        return [column.cast(_BINARY).fill_null(b"")]
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    elements = column.flatten()
    validity = _validity(elements, offsets)
    if elements.type in NUMBERS:
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
