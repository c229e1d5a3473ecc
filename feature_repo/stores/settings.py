"""The bounds within which the offline store works, read once per call from feature_store.yaml."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feature_repo.errors import ConfigError

_UNITS: Final = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BINARY: Final = {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SHARE: Final = 4  # of the limit (or of the machine's memory) that one index, or one view's features, may take


@dataclass(frozen=True)
class Settings:
    """`memory_limit` as DuckDB writes it ("4GB"), None for no limit of ours; the rest as named."""

    repo_path: Path
    spill_directory: Path
    threads: int
    memory_limit: str | None
    strict: bool

    @property
    def budget(self) -> int:
        """Bytes that one index over a view, or the features of one view held for a stream, may take in memory."""
        limit = parse_bytes(self.memory_limit) if self.memory_limit else _physical_memory()
        return max(limit // _SHARE, 1)


def parse_bytes(text: str) -> int:
    """Return the bytes that a limit names; raise ConfigError for anything else.

    >>> parse_bytes("4GB"), parse_bytes("512 MiB")
    (4000000000, 536870912)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = found.group(2).upper() if found else None
    factor = {**_UNITS, **_BINARY}.get(unit) if unit is not None else None
    if factor is None:
        raise ConfigError(
            "feature_store.yaml, offline_store.memory_limit",
            expected='a size such as "4GB" or "512MiB"',
            got=repr(text),
            fix="Correct it.",
        )
    return int(float(found.group(1)) * factor)


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
