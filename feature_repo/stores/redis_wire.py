"""Redis' protocol for many small reads at once: commands packed here, sent in one piece, answers not decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.stores.packed import Blobs

if TYPE_CHECKING:
    from redis import Redis

HashFields = tuple[bytes, Sequence[bytes | str]]


def ask(client: Redis, commands: bytes, answers: int) -> list[Any]:
    """Send packed commands to a single server and return what it answers."""
    connection = client.connection_pool.get_connection()
    try:
        connection.send_packed_command([commands])
        return [connection.read_response(disable_decoding=True) for _ in range(answers)]
    except BaseException:
        connection.disconnect()
        raise
    finally:
        client.connection_pool.release(connection)


def packed_commands(items: Sequence[HashFields]) -> bytes:
    """Return one HMGET per (hash, fields) as Redis' protocol has them.

    >>> packed_commands([(b"k", ["f"])])
    b'*3\\r\\n$5\\r\\nHMGET\\r\\n$1\\r\\nk\\r\\n$1\\r\\nf\\r\\n'
    """
    made: dict[int, tuple[bytes, bytes]] = {}
    commands = []
    for key, fields in items:
        if id(fields) not in made:  # the hashes of one view share their fields
            made[id(fields)] = _head(len(fields)), b"".join(map(_bulk_string, fields))
        head, tail = made[id(fields)]
        commands.append(head + _bulk_string(key) + tail)
    return b"".join(commands)


def packed_command(key: bytes, fields: pa.Array) -> bytes:
    """Return one HMGET of many fields, a large binary array without nulls, as Redis' protocol has it.

    >>> packed_command(b"k", pa.array([b"f", b""], pa.large_binary()))
    b'*4\\r\\n$5\\r\\nHMGET\\r\\n$1\\r\\nk\\r\\n$1\\r\\nf\\r\\n$0\\r\\n\\r\\n'
    """
    lengths = pc.binary_length(fields).cast(pa.large_string()).cast(pa.large_binary())
    dollar, end, nothing = (pa.scalar(text, pa.large_binary()) for text in (b"$", b"\r\n", b""))
    joined = Blobs.of(pc.binary_join_element_wise(dollar, lengths, end, fields, end, nothing))
    return _head(len(fields)) + _bulk_string(key) + joined.joined()


def _head(fields: int) -> bytes:
    return b"*%d\r\n$5\r\nHMGET\r\n" % (2 + fields)


def _bulk_string(value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return b"$%d\r\n%b\r\n" % (len(data), data)
