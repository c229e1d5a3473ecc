"""A large log dealt into ranges of a key: each is computed by itself, and laid end to end their rows are in order."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from feature_repo.columns import ITEM, USER
from feature_repo.lake import parquet, quote

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

PART: Final = 1 << 20
"""Events of a range of keys, at least; one key may have more."""
PARTS_IN_FILE: Final = 4
EVENTS: Final = "events"


@dataclass(frozen=True)
class Share:
    """The keys in [low, high), None where there is no bound, and the relation that holds their events."""

    key: str
    low: int | str | None = None
    high: int | str | None = None
    relation: str = EVENTS

    def of(self, relation: str) -> str:
        """Return the query of a relation's rows with these keys."""
        bounds = [f"{self.key} {sign} {_literal(bound)}" for sign, bound in self._bounds if bound is not None]
        return f"SELECT * FROM {relation}" + (f" WHERE {' AND '.join(bounds)}" if bounds else "")

    @property
    def _bounds(self) -> list[tuple[str, int | str | None]]:
        return [(">=", self.low), ("<", self.high)]


WHOLE: Final = (Share(""),)
"""The log as it is, for one that is not large."""


@dataclass(frozen=True)
class Dealt:
    """The log by ranges of one key. `starts`: the number of each range and the key that it begins with, ascending."""

    key: str
    folder: Path
    starts: Sequence[tuple[int, int | str]]

    def fine(self) -> list[Share]:
        """Return a share for each range."""
        return self._shares(self.starts)

    def coarse(self) -> list[Share]:
        """Return a share for each file."""
        firsts = [self.starts[0]]
        firsts += [after for before, after in pairwise(self.starts) if _file(before[0]) != _file(after[0])]
        return self._shares(firsts)

    def _shares(self, starts: Sequence[tuple[int, int | str]]) -> list[Share]:
        lows = [None, *(low for _, low in starts[1:])]
        highs = [*lows[1:], None]
        files = [parquet([str(self.folder / f"file={_file(number)}" / "*.parquet")]) for number, _ in starts]
        return [Share(self.key, *share) for share in zip(lows, highs, files, strict=True)]


@contextmanager
def dealt(workspace: Workspace, keys: Sequence[str]) -> Iterator[dict[str, Dealt]]:
    """Deal the log by each of some keys, users or items, into files that are removed in the end."""
    folder = workspace.data_dir / "spill" / "dealt"
    try:
        yield {key: _deal(workspace, key, folder / key) for key in keys}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keys_dealt(keys: Sequence[str]) -> list[str]:
    """Return those of some keys by which a log can be dealt."""
    return [key for key in (USER, ITEM) if key in keys]


def _deal(workspace: Workspace, key: str, folder: Path) -> Dealt:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with workspace.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET partitioned_write_flush_threshold = 2097152")
        connection.execute(
            f"CREATE TEMP TABLE places AS SELECT {key}, CAST(sum(count(*)) OVER (ORDER BY {key}) - count(*) AS BIGINT) "
            f"// {PART} AS number FROM {EVENTS} GROUP BY {key}"
        )
        starts = connection.execute(f"SELECT number, min({key}) FROM places GROUP BY number ORDER BY number").fetchall()
        connection.execute(
            f"COPY (SELECT {EVENTS}.*, number // {PARTS_IN_FILE} AS file FROM {EVENTS} JOIN places USING ({key})) "
            f"TO {quote(str(folder))} (FORMAT parquet, PARTITION_BY (file), COMPRESSION snappy)"
        )
    return Dealt(key, folder, starts)


def _file(number: int) -> int:
    return number // PARTS_IN_FILE


def _literal(bound: int | str) -> str:
    return quote(bound) if isinstance(bound, str) else str(bound)
