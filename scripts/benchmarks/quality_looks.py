"""How often anybody has looked at a test window: one line per look, appended and never rewritten.

A result that was picked after many looks is worth less than one of the first look, so every report quotes the number.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from feature_repo.config import Config

FILE = "quality_looks.jsonl"


@dataclass(frozen=True)
class Look:
    """One scoring of our lists on a test window. Times are ISO 8601 in UTC; `config` is a digest without the seeds."""

    at: str
    data: str
    fingerprint: str
    window_start: str
    window_end: str
    config: str
    seeds: int
    ndcg: float


@dataclass(frozen=True)
class Count:
    """How many looks a window has had, and at how many configurations."""

    looks: int
    configurations: int


def record(data_dir: Path, look: Look) -> Count:
    """Append a look to the log of a data directory; return how many this window has had with it."""
    path = data_dir / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(asdict(look)) + "\n"
    # One write in append mode: two benchmarks at the same time don't tear each other's lines.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
    same = [other for other in read(data_dir) if _window(other) == _window(look)]
    return Count(len(same), len({other.config for other in same}))


def read(data_dir: Path) -> list[Look]:
    """Return all looks, oldest first."""
    path = data_dir / FILE
    if not path.exists():
        return []
    return [Look(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def config_digest(config: Config) -> str:
    """Return a digest of everything in a configuration but its seeds."""
    content = config.model_dump(mode="json", exclude={"ranker": {"seed"}, "candidates": {"seed"}})
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def now_text(now: datetime) -> str:
    return now.isoformat(timespec="seconds")


def _window(look: Look) -> tuple[str, str, str]:
    return look.fingerprint, look.window_start, look.window_end
