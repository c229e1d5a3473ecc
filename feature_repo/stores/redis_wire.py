"""Redis' protocol for many small reads at once: commands packed here, sent in one piece, answers not decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
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


def packed_command(key: bytes, fields: Blobs) -> bytes:
    """Return one HMGET of many fields as Redis' protocol has it.

    >>> packed_command(b"k", Blobs.of(pa.array([b"f", b""])))
    b'*4\\r\\n$5\\r\\nHMGET\\r\\n$1\\r\\nk\\r\\n$1\\r\\nf\\r\\n$0\\r\\n\\r\\n'
    """
    widths = np.diff(fields.offsets)
    alike = widths[0] > 0 and bool((widths == widths[0]).all())
    return (
        _head(len(fields)) + _bulk_string(key) + (_of_one_width(fields, int(widths[0])) if alike else _of_any(fields))
    )


def _of_one_width(fields: Blobs, width: int) -> bytes:
    """Pack strings of one length, as integer keys are."""
    head = b"$%d\r\n" % width
    packed = np.empty(len(fields), [("head", f"V{len(head)}"), ("field", f"V{width}"), ("end", "V2")])
    packed["head"], packed["end"] = np.void(head), np.void(b"\r\n")
    packed["field"] = np.frombuffer(fields.joined(), f"V{width}")
    return packed.tobytes()


def _of_any(fields: Blobs) -> bytes:
    array = fields.to_arrow()
    lengths = pc.binary_length(array).cast(pa.large_string()).cast(pa.large_binary())
    dollar, end, nothing = (pa.scalar(text, pa.large_binary()) for text in (b"$", b"\r\n", b""))
    return Blobs.of(pc.binary_join_element_wise(dollar, lengths, end, array, end, nothing)).joined()


def _head(fields: int) -> bytes:
    return b"*%d\r\n$5\r\nHMGET\r\n" % (2 + fields)


def _bulk_string(value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return b"$%d\r\n%b\r\n" % (len(data), data)
