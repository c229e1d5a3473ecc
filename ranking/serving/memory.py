"""A server's memory: what was freed stays at hand, what start-up made is left alone and lies in large pages."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 256 << 20

LARGE_PAGE: Final = 2 << 20
_COLLAPSE: Final = 25  # MADV_COLLAPSE of Linux 6.1 and later
_MAPPINGS: Final = Path("/proc/self/maps")
# Private memory that may be written to and has no file behind it.
_ANONYMOUS: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw.p \S+ \S+ 0 *(\[heap\]|\[anon.*\])?$")


def keep_memory() -> bool:
    """Let the C library keep freed memory up to 256 MB; False where it is not glibc.

    Giving memory back to the system and asking for it again is most of a short request's time.
    """
    try:
        tune = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    tune(_TRIM_THRESHOLD, _KEPT_BYTES)
    tune(_MMAP_THRESHOLD, 32 << 20)
    return True


def settle() -> int:
    """Take what start-up made out of garbage collection and lay it in large pages; return how many there are.

    A request looks at many places far from each other in what is held: with small pages the processor has to look up
    where most of them lie. Nothing depends on it: where the system has no such call or no room, memory stays as it is.
    """
    gc.collect()
    gc.freeze()
    try:
        advise = ctypes.CDLL(None).madvise
        mappings = _MAPPINGS.read_text()
    except (OSError, AttributeError):
        return 0
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return sum(advise(place, LARGE_PAGE, _COLLAPSE) == 0 for place in _large_places(mappings))


def _large_places(mappings: str) -> Iterator[int]:
    """Yield where whole large pages fit in a process's anonymous memory."""
    for line in mappings.splitlines():
        found = _ANONYMOUS.match(line)
        if found:
            begin, end = int(found[1], 16), int(found[2], 16)
            yield from range(-(-begin // LARGE_PAGE) * LARGE_PAGE, end - LARGE_PAGE + 1, LARGE_PAGE)
