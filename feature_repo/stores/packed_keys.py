"""Entity keys of the packed store: one integer, or bytes whose order keeps the pairs of one user side by side.

A single integer key is stored as the integer, a single string as its bytes. A composite key is the concatenation of
its parts in the view's own order: an integer as eight big-endian bytes shifted by 2**63, a string as its length in
four bytes and then itself, so that no two keys ever share their bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.errors import ContractError
from feature_repo.stores.packed import SHIFT, Blobs, conform

if TYPE_CHECKING:
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto

INTEGER: Final = "integer"
STRING: Final = "string"
BYTES: Final = "bytes"
_ARROW: Final = {INTEGER: pa.int64(), STRING: pa.string(), BYTES: pa.binary()}
_PROTO_FIELDS: Final = {
    INTEGER: frozenset({"int64_val", "int32_val", "unix_timestamp_val"}),
    STRING: frozenset({"string_val"}),
    BYTES: frozenset({"bytes_val"}),
}
_SECONDS: Final = pa.timestamp("s", tz="UTC")
INTEGER_BYTES: Final = 8
_LENGTH_BYTES: Final = 4
_FEW: Final = 64
"""So many rows at least make it worth to look for what their keys have in common."""
_ROWS_A_RUN: Final = 16
"""So many rows must have a user in common on the average for a request to be read user by user."""

Key = int | bytes


Apart = tuple[list[Key | None], np.ndarray | None]


@dataclass(frozen=True)
class Run:
    """Rows of a request whose keys begin alike and have one part more: `rows` of them, a user's; `last` are these."""

    head: bytes
    rows: slice
    last: pa.Array


@dataclass(frozen=True)
class Asked:
    """The keys of a request's rows.

    `tell` tells the distinct ones apart, when somebody wants that. `numbers` are the rows' keys where each is one
    integer. `head` is the key that all rows have, or, with `rest`, what all keys begin with: the user of a request.
    `runs` are the users of a request for several, one after the other; none where it is not so ordered.
    """

    tell: Callable[[], Apart]
    numbers: np.ndarray | None = None
    head: Key | None = None
    rest: Asked | None = None
    runs: Sequence[Run] = ()

    @classmethod
    def of(cls, keys: list[Key | None]) -> Asked:
        """Ask for a list of keys."""
        return cls(lambda: _apart(keys))

    @cached_property
    def _told(self) -> Apart:
        return self.tell()

    @property
    def keys(self) -> list[Key | None]:
        """The distinct keys."""
        return self._told[0]

    @property
    def index(self) -> np.ndarray | None:
        """Which distinct key each row has, None: one each, in order."""
        return self._told[1]

    @cached_property
    def rows(self) -> int:
        """How many rows ask."""
        if self.numbers is not None:
            return len(self.numbers)
        return len(self.keys) if self.index is None else len(self.index)

    @property
    def first(self) -> np.ndarray:
        """The row in which each distinct key comes first."""
        return np.arange(len(self.keys)) if self.index is None else np.unique(self.index, return_index=True)[1]


@dataclass(frozen=True)
class KeyCodec:
    """The join keys of a view, in order, with their kinds: integer, string or bytes.

    Without join keys the key is Feast's own serialised entity key, whatever it holds.
    """

    parts: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        return json.dumps(self.parts)

    @classmethod
    def from_text(cls, text: str) -> KeyCodec:
        return cls(tuple((name, kind) for name, kind in json.loads(text)))

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(kind for _, kind in self.parts)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.parts)

    def arrays(self, columns: Mapping[str, pa.Array], where: str) -> list[pa.Array]:
        """Bring the key columns to their stored types; raises DataError where a value does not fit."""
        return [_stored(columns[name], kind, f"{where}, entity {name}") for name, kind in self.parts]

    def encode(self, arrays: Sequence[pa.Array]) -> np.ndarray | Blobs:
        """Encode key columns without nulls: int64 for a single integer key, bytes for any other."""
        if len(arrays) == 1:
            only = arrays[0]
            return only.to_numpy(zero_copy_only=False) if only.type == pa.int64() else Blobs.of(only)
        if all(array.type == pa.int64() for array in arrays):
            return Blobs.of_rows(_stacked(arrays))
        pieces = [piece for array in arrays for piece in _pieces(array)]
        return Blobs.of(pc.binary_join_element_wise(*pieces, pa.scalar(b"", pa.large_binary())))

    def to_list(self, arrays: Sequence[pa.Array]) -> list[Key | None]:
        """Encode key columns for a look-up; a row with a null in it has no key."""
        if not any(array.null_count for array in arrays):
            if len(arrays) > 1 and all(array.type == pa.int64() for array in arrays):
                return _stacked(arrays).view(f"V{8 * len(arrays)}").reshape(-1).tolist()
            encoded = self.encode(arrays)
            return encoded.tolist() if isinstance(encoded, np.ndarray) else encoded.to_list()
        table = pa.table(list(arrays), names=[str(i) for i in range(len(arrays))])
        whole = np.logical_and.reduce([a.is_valid().to_numpy(zero_copy_only=False) for a in arrays])
        known = table.filter(pa.array(whole)).combine_chunks()
        keys = np.full(len(whole), None, object)
        keys[whole] = self.to_list([_one_chunk(column) for column in known.columns])
        return keys.tolist()

    def asked(self, arrays: Sequence[pa.Array]) -> Asked:
        """Encode key columns for a look-up; the one user of a request is encoded once."""
        rows = len(arrays[0]) if arrays else 0
        constant, numbers = rows > 0 and all(_is_constant(array) for array in arrays[:-1]), _numbers_of(arrays)
        if constant and _is_constant(arrays[-1]):
            keys = self.to_list([array.slice(0, 1) for array in arrays])
            index = None if rows == 1 else np.zeros(rows, np.int64)
            return Asked(lambda: (keys, index), numbers, head=keys[0])
        if len(arrays) == 1:
            return Asked(lambda: self._told(arrays[0]), numbers)
        if rows < _FEW or any(array.null_count for array in arrays[:-1]):
            return Asked.of(self.to_list(arrays))
        if not constant:
            return Asked(lambda: _apart(self.to_list(arrays)), runs=_runs(arrays))
        last = KeyCodec(self.parts[-1:]).asked(arrays[-1:])
        return Asked(lambda: _apart(self.to_list(arrays)), head=_head(arrays, 0), rest=last)

    def _told(self, column: pa.Array) -> Apart:
        """Tell the distinct keys of one column apart, in the order in which they come, before they are Python's."""
        if column.null_count:
            return _apart(self.to_list([column]))
        coded = column.dictionary_encode()
        keys = self.to_list([coded.dictionary])
        return keys, None if len(keys) == len(column) else coded.indices.to_numpy().astype(np.int64)

    def last_parts(self, keys: Sequence[bytes], head: bytes) -> np.ndarray | list[bytes]:
        """Return the last part of composite keys that begin with `head` and have one part more."""
        if self.kinds[-1] != INTEGER:
            return [key[self.last_part(head) :] for key in keys]
        return _last_numbers(b"".join(keys), head)

    def last_part(self, head: bytes) -> int:
        """Return where the last part's own bytes begin in keys that begin with `head`."""
        return len(head) + (0 if self.kinds[-1] == INTEGER else _LENGTH_BYTES)

    def split(self, parts: bytes, lengths: np.ndarray) -> pa.Array:
        """Return the last parts that stand one after the other, strings or bytes of these lengths."""
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return Blobs(pa.py_buffer(parts), offsets).to_arrow().cast(_ARROW[self.kinds[-1]])

    def from_protos(self, keys: Sequence[EntityKeyProto], serialization: int) -> list[Key | None]:
        """Encode Feast's entity keys; one with other join keys or other types than the view's has no key."""
        from feast.infra.key_encoding_utils import serialize_entity_key

        if not self.parts:
            return [serialize_entity_key(key, entity_key_serialization_version=serialization) for key in keys]
        return [self._from_proto(key) for key in keys]

    def _from_proto(self, key: EntityKeyProto) -> Key | None:
        values = dict(zip(key.join_keys, key.entity_values, strict=True))
        pieces: list[Key] = []
        for name, kind in self.parts:
            value = values.get(name)
            which = value.WhichOneof("val") if value is not None else None
            if which not in _PROTO_FIELDS[kind]:
                return None
            part = getattr(value, which)
            pieces.append(part.encode() if kind == STRING else part)
        if len(pieces) == 1:
            return pieces[0]
        return b"".join(_piece(piece) for piece in pieces)


def other_join_keys(name: str, stored: str, wanted: str) -> ContractError:
    """Return the error of a write to a view whose records have other join keys."""
    return ContractError(
        f"feature view {name} in the online store",
        expected=f"join keys {stored}",
        got=wanted,
        fix="Run `feast apply`, which empties the view, and materialize it again.",
    )


def _apart(keys: list[Key | None]) -> Apart:
    only = dict.fromkeys(keys)
    if len(only) == len(keys):
        return keys, None
    place = dict(zip(only, range(len(only)), strict=True))
    return list(only), np.fromiter(map(place.__getitem__, keys), np.int64, len(keys))


def _plain(part: int | str | bytes) -> Key:
    return part.encode() if isinstance(part, str) else part


def _piece(part: Key) -> bytes:
    if isinstance(part, int):
        return (part + SHIFT).to_bytes(8, "big")
    return len(part).to_bytes(_LENGTH_BYTES, "big") + part


def _stored(column: pa.Array, kind: str, where: str) -> pa.Array:
    if pa.types.is_timestamp(column.type) and kind == INTEGER:
        # Feast's own entity keys count seconds.
        column = column.cast(pa.timestamp(column.type.unit, "UTC")).cast(_SECONDS, safe=False)
        return column.view(pa.int64())
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), _ARROW[kind])
    return conform(column, _ARROW[kind], where)


def _last_numbers(keys: bytes, head: bytes) -> np.ndarray:
    """Return the integers that joined keys end in, behind `head`."""
    parts = np.frombuffer(keys, [("head", f"V{len(head)}"), ("last", ">u8")])["last"]
    return (parts.astype(np.uint64) ^ np.uint64(SHIFT)).view(np.int64)


def _numbers_of(arrays: Sequence[pa.Array]) -> np.ndarray | None:
    """Return the keys that are one integer each, None for others."""
    if len(arrays) != 1 or arrays[0].type != pa.int64() or arrays[0].null_count:
        return None
    return arrays[0].to_numpy(zero_copy_only=False)


def _head(arrays: Sequence[pa.Array], row: int) -> bytes:
    """Return what a row's key has before its last part."""
    return b"".join(_piece(_plain(array[row].as_py())) for array in arrays[:-1])


def _runs(arrays: Sequence[pa.Array]) -> list[Run]:
    """Return the runs of rows that differ in the last part of their keys alone, none where they are short."""
    rows = len(arrays[0])
    begins = [pc.not_equal(array.slice(1), array.slice(0, rows - 1)) for array in arrays[:-1]]
    changed = np.logical_or.reduce([begin.to_numpy(zero_copy_only=False) for begin in begins])
    starts = [0, *(np.flatnonzero(changed) + 1).tolist(), rows]
    if _ROWS_A_RUN * (len(starts) - 1) > rows:
        return []
    return [
        Run(_head(arrays, start), slice(start, end), arrays[-1].slice(start, end - start))
        for start, end in pairwise(starts)
    ]


def _is_constant(array: pa.Array) -> bool:
    if array.null_count:
        return False
    if array.type == pa.int64():
        values = array.to_numpy(zero_copy_only=False)
        return values[0] == values[-1] and bool((values == values[0]).all())
    return array[0].as_py() == array[-1].as_py() and pc.all(pc.equal(array, array[0])).as_py()


def _stacked(arrays: Sequence[pa.Array]) -> np.ndarray:
    """Return integer keys side by side, shifted and big-endian."""
    stacked = np.empty((len(arrays[0]), len(arrays)), ">u8")
    for place, array in enumerate(arrays):
        stacked[:, place] = array.to_numpy(zero_copy_only=False).view(np.uint64) ^ np.uint64(SHIFT)
    return stacked


def _shifted(array: pa.Array) -> np.ndarray:
    values = array.to_numpy(zero_copy_only=False)
    return (values.view(np.uint64) ^ np.uint64(SHIFT)).astype(">u8")


def _pieces(array: pa.Array) -> list[pa.Array]:
    if array.type == pa.int64():
        return [Blobs.of_rows(_shifted(array)).to_arrow()]
    lengths = pc.binary_length(array).to_numpy(zero_copy_only=False).astype(">u4")
    return [Blobs.of_rows(lengths).to_arrow(), array.cast(pa.large_binary())]


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
