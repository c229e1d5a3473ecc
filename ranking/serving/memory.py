"""Keeping what a process has freed: giving it back to the system and asking again is most of a short request's time."""

from __future__ import annotations

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 256 << 20


def keep_memory() -> bool:
    """Let the C library keep freed memory up to 256 MB; False where it is not glibc."""
    try:
        tune = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    tune(_TRIM_THRESHOLD, _KEPT_BYTES)
    tune(_MMAP_THRESHOLD, 32 << 20)
    return True
