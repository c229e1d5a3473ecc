"""How often anybody has looked at a test window: one line per look, appended and never rewritten.

A result that was picked after many looks is worth less than one of the first look, so every report quotes the number.
`rankhouse evaluate` and `scripts/bench quality` write to the same kind of file.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.config import Config

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

FILE = "quality_looks.jsonl"
DECIDES = {"events", "now", "allow_repeats", "split", "candidates", "service", "ranker"}


@dataclass(frozen=True)
class Look:
    """One scoring of our lists on a test window. Times are ISO 8601 in UTC; `config` is a digest without the seeds.

    `at`: the declared clock for a command, the wall clock for a benchmark; `purpose`: who looked.
    """

    at: str
    data: str
    fingerprint: str
    window_start: str
    window_end: str
    config: str
    seeds: int
    ndcg: float
    model: str = ""
    purpose: str = "bench"


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


def look_at_test(workspace: Workspace, *, model: str, ndcg: float, purpose: str) -> Count:
    """Note that a command judged a model on the workspace's test window; return how many looks that makes."""
    window = workspace.periods.test
    look = Look(
        at=now_text(workspace.now),
        data=workspace.lake.manifest().name,
        fingerprint=workspace.lake.fingerprint(),
        window_start=window.start.isoformat(),
        window_end=window.end.isoformat(),
        config=config_digest(workspace.config),
        seeds=1,
        ndcg=ndcg,
        model=model,
        purpose=purpose,
    )
    return record(workspace.data_dir, look)


def sentence(count: Count) -> str:
    """Say how often the window was looked at.

    >>> sentence(Count(3, 2))
    'Looks at this test window, this one included: 3, of 2 configurations.'
    """
    return (
        f"Looks at this test window, this one included: {count.looks}, of {count.configurations} "
        f"configuration{'' if count.configurations == 1 else 's'}."
    )


def read(data_dir: Path) -> list[Look]:
    """Return all looks, oldest first."""
    path = data_dir / FILE
    if not path.exists():
        return []
    return [Look(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def deciding(config: Config) -> dict[str, Any]:
    """Return the part of a configuration that decides a model and its lists, without what stands at its default."""
    return config.model_dump(mode="json", by_alias=True, include=DECIDES, exclude_defaults=True)


def config_digest(config: Config) -> str:
    """Return a digest of what decides the lists of a configuration, its seeds left out."""
    content = deciding(config)
    for part in ("ranker", "candidates"):
        content.get(part, {}).pop("seed", None)
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def now_text(now: datetime) -> str:
    return now.isoformat(timespec="seconds")


def _window(look: Look) -> tuple[str, str, str]:
    return look.fingerprint, look.window_start, look.window_end
