"""Packed records in Redis: one hash of (key, record) per view, and beside it what the view is.

    rankhouse:{["project","view"]}:records:<join keys>    key -> record, as the SQLite store keeps them
    rankhouse:{["project","view"]}:view                   keys, layout, newest, layout:<id> -> its fields

A key is its bytes, a single integer as one of a composite key, so a view with other join keys has another hash and its
records are never misread. A script on the server writes a batch: it cuts keys and records out of two buffers, compares
times and keeps the newer record, and nobody reads or writes in between. The braces keep a view's two Redis keys on one
server of a cluster that is addressed through a proxy; the client here speaks to one address.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar
from uuid import uuid4

import numpy as np
import pyarrow as pa

from feature_repo.errors import MissingError, UnreachableError
from feature_repo.stores.packed import SHIFT, Blobs, Layout, stored_time
from feature_repo.stores.packed_keys import INTEGER, Key, KeyCodec, other_join_keys
from feature_repo.stores.packed_view import PackedView
from feature_repo.stores.redis_wire import ask, packed_command

if TYPE_CHECKING:
    from redis import Redis

BATCH_ROWS: Final = 8_192
"""While a script writes so many rows, some ten milliseconds, the server answers nobody."""
_STAGED_SECONDS: Final = 3_600
_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 30.0
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
_OTHER_KEYS: Final = b"OTHER_KEYS "
_OLDER: Final = b"OLDER"
_MULTI: Final = b"*1\r\n$5\r\nMULTI\r\n"
_EXEC: Final = b"*1\r\n$4\r\nEXEC\r\n"
_UPSERT: Final = """
local function part(buffer, ends, i)
    local first = i == 0 and 0 or struct.unpack('<I4', ends, i * 4 - 3)
    return string.sub(buffer, first + 1, (struct.unpack('<I4', ends, i * 4 + 1)))
end
local function later(a, b, first)
    local a1, a2 = struct.unpack('>I4I4', a, first)
    local b1, b2 = struct.unpack('>I4I4', b, first)
    if a1 ~= b1 then return a1 > b1 end
    return a2 > b2
end
local function newer(a, b)
    if string.sub(a, 1, 8) ~= string.sub(b, 1, 8) then return later(a, b, 1) end
    return later(a, b, 9)
end
local records, view = KEYS[1], KEYS[2]
local codec, layout, fields, rows = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local known = redis.call('HGET', view, 'keys')
if known and known ~= codec then return 'OTHER_KEYS ' .. known end
local newest = redis.call('HGET', view, 'newest')
for start = 0, rows - 1, 1000 do
    local keys = {}
    for i = start, math.min(start + 1000, rows) - 1 do keys[#keys + 1] = part(ARGV[5], ARGV[6], i) end
    local old, kept = redis.call('HMGET', records, unpack(keys)), {}
    for n, key in ipairs(keys) do
        local record = part(ARGV[7], ARGV[8], start + n - 1)
        local other = kept[key] or old[n]
        if not other or not newer(other, record) then kept[key] = record end
        if not newest or later(record, newest, 1) then newest = string.sub(record, 1, 8) end
    end
    local written = {}
    for key, record in pairs(kept) do
        written[#written + 1] = key
        written[#written + 1] = record
    end
    if #written > 0 then redis.call('HSET', records, unpack(written)) end
end
redis.call('HSET', view, 'keys', codec, 'layout', layout, 'layout:' .. layout, fields)
if newest then redis.call('HSET', view, 'newest', newest) end
if ARGV[9] then redis.call('EXPIRE', records, ARGV[9]); redis.call('EXPIRE', view, ARGV[9]) end
return ''
"""
_SWAP: Final = """
local records, view, staged, staged_view = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local codec, layout, fields, newest = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local known = redis.call('HMGET', view, 'keys', 'newest')
redis.call('UNLINK', staged_view)
if known[1] and known[1] ~= codec then
    redis.call('UNLINK', staged)
    return 'OTHER_KEYS ' .. known[1]
end
if newest ~= '' and known[2] then
    local a1, a2 = struct.unpack('>I4I4', newest)
    local b1, b2 = struct.unpack('>I4I4', known[2])
    if a1 < b1 or (a1 == b1 and a2 < b2) then
        redis.call('UNLINK', staged)
        return 'OLDER'
    end
end
redis.call('UNLINK', records)
if redis.call('EXISTS', staged) == 1 then
    redis.call('RENAME', staged, records)
    redis.call('PERSIST', records)
end
redis.call('HSET', view, 'keys', codec, 'layout', layout, 'layout:' .. layout, fields)
if newest == '' then redis.call('HDEL', view, 'newest') else redis.call('HSET', view, 'newest', newest) end
return ''
"""


def _answered(
    method: Callable[Concatenate[RedisRecords, Parameters], Result],
) -> Callable[Concatenate[RedisRecords, Parameters], Result]:
    """Say which server it is that does not answer."""

    @wraps(method)
    def asking(self: RedisRecords, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        from redis.exceptions import ConnectionError as NoConnection
        from redis.exceptions import TimeoutError as NoAnswer

        try:
            return method(self, *args, **kwargs)
        except (NoConnection, NoAnswer) as problem:
            place = self.client.connection_pool.connection_kwargs
            where = place.get("path") or f"{place.get('host')}:{place.get('port')}"
            raise UnreachableError(
                "the online store in Redis",
                expected=f"an answer from {where}",
                got=str(problem),
                fix="Start the server, or correct online_store.url in feature_store.yaml.",
            ) from problem

    return asking


class RedisRecords:
    """The records of every view on one server; raises UnreachableError where it does not answer."""

    def __init__(self, url: str) -> None:
        self.client = _client(url)
        self._upsert = self.client.register_script(_UPSERT)
        self._swap = self.client.register_script(_SWAP)

    @_answered
    def read(self, asked: Sequence[tuple[PackedView, Sequence[Key | None]]]) -> list[list[bytes | None]]:
        """Return the records of distinct keys of several views, as they were at one moment; a null key has none."""
        encoded = [_encoded(view.keys, [key for key in keys if key is not None]) for view, keys in asked]
        commands = [
            packed_command(_names(view)[0].encode(), fields)
            for (view, _), fields in zip(asked, encoded, strict=True)
            if len(fields)
        ]
        replies = iter(self._at_once(commands))
        found = [next(replies) if len(fields) else [] for fields in encoded]
        return [
            records if None not in keys else _spread(records, keys)
            for records, (_, keys) in zip(found, asked, strict=True)
        ]

    def _at_once(self, commands: Sequence[bytes]) -> list[list[bytes | None]]:
        if not commands:
            return []
        *_, replies = ask(self.client, b"".join([_MULTI, *commands, _EXEC]), len(commands) + 2)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    @_answered
    def stored(self, view: PackedView) -> tuple[KeyCodec, Layout] | None:
        """Return the join keys and the newest schema of a view, None where it is new."""
        keys, layout = self.client.hmget(_names(view)[1], "keys", "layout")
        return None if keys is None else (KeyCodec.from_text(keys.decode()), self.layout(view, int(layout)))

    @_answered
    def layout(self, view: PackedView, number: int) -> Layout:
        """Return a schema that records of a view were written in."""
        return Layout.from_text(self.client.hget(_names(view)[1], f"layout:{number}").decode())

    @_answered
    def declare(self, view: PackedView) -> None:
        """Make a view known, with its newest schema; raises ContractError where its records have other join keys."""
        nothing = Blobs.of(pa.array([], pa.large_binary()))
        self._write(_names(view), view, nothing, nothing)

    @_answered
    def upsert(self, view: PackedView, keys: np.ndarray | Blobs, records: Blobs) -> None:
        """Write one record per key at once; an older record never replaces a newer one, an equally old one does.

        Raises ContractError where the view's records have other join keys.
        """
        self._write(_names(view), view, _as_bytes(keys), records)

    @_answered
    def replace(self, view: PackedView, newest: int | None, batches: Iterator[tuple[np.ndarray | Blobs, Blobs]]) -> int:
        """Swap a view's records, unless they are newer than `newest`; readers see the old ones or the new.

        Returns how many there are now; none without a `newest`.
        """
        names, written = _names(view), 0
        with self._staged(view) as staged:
            for keys, records in batches:
                self._write(staged, view, _as_bytes(keys), records, _STAGED_SECONDS)
                written += len(records)
            time = b"" if newest is None else stored_time(newest)
            answer = self._swap(keys=[*names, *staged], args=[*_described(view), time])
        _check(answer, view)
        return 0 if answer == _OLDER else written

    @contextmanager
    def _staged(self, view: PackedView) -> Iterator[tuple[str, str]]:
        """Yield names to write to beside a view; whatever is left there goes."""
        own = uuid4().hex
        staged = (f"{_base(*view.id)}:staged:{own}", f"{_base(*view.id)}:staged:{own}:view")
        try:
            yield staged
        finally:
            self.client.unlink(*staged)

    def _write(
        self, names: tuple[str, str], view: PackedView, keys: Blobs, records: Blobs, seconds: int | None = None
    ) -> None:
        parts = [part for blobs in (keys, records) for part in (blobs.joined(), _ends(blobs))]
        lifetime = [] if seconds is None else [seconds]
        answer = self._upsert(keys=list(names), args=[*_described(view), len(records), *parts, *lifetime])
        _check(answer, view)

    @_answered
    def drop(self, view: PackedView) -> None:
        """Forget a view and its records."""
        _, name = _names(view)
        keys = self.client.hget(name, "keys")
        if keys is not None:
            self.client.unlink(_records_name(view, keys.decode()), name)


def _client(url: str) -> Redis:
    try:
        from redis import Redis
    except ImportError as problem:
        raise MissingError(
            "the online store in Redis",
            expected="Redis' client, the package `redis`",
            got=str(problem),
            fix="Install rankhouse[redis].",
        ) from problem
    return Redis.from_url(url, socket_connect_timeout=_CONNECT_SECONDS, socket_timeout=_ANSWER_SECONDS)


def _check(answer: bytes, view: PackedView) -> None:
    if answer.startswith(_OTHER_KEYS):
        raise other_join_keys(view.name, answer.removeprefix(_OTHER_KEYS).decode(), view.keys.text)


def _described(view: PackedView) -> list[Any]:
    return [view.keys.text, str(view.layout.id), view.layout.text]


def _base(project: str, name: str) -> str:
    return f"rankhouse:{{{json.dumps([project, name])}}}"


def _records_name(view: PackedView, keys: str) -> str:
    return f"{_base(*view.id)}:records:{hashlib.blake2b(keys.encode(), digest_size=8).hexdigest()}"


def _names(view: PackedView) -> tuple[str, str]:
    return _records_name(view, view.keys.text), f"{_base(*view.id)}:view"


def _encoded(codec: KeyCodec, keys: Sequence[Key]) -> Blobs:
    if codec.kinds == (INTEGER,):
        return _as_bytes(np.array(keys, np.int64))
    return Blobs.of(pa.array(keys, pa.large_binary()))


def _as_bytes(keys: np.ndarray | Blobs) -> Blobs:
    if isinstance(keys, np.ndarray):
        return Blobs.of_rows((keys.view(np.uint64) ^ np.uint64(SHIFT)).astype(">u8"))
    return keys


def _ends(blobs: Blobs) -> bytes:
    return (blobs.offsets[1:] - blobs.offsets[0]).astype("<u4").tobytes()


def _spread(records: Sequence[bytes | None], keys: Sequence[Key | None]) -> list[bytes | None]:
    left = iter(records)
    return [None if key is None else next(left) for key in keys]
