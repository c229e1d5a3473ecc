"""Accepted events reach the lake once, whatever process is killed in between."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from feature_repo.lake import JOURNAL, Lake
from ranking.serving.journal import Event, Journal

EVENTS = [
    Event(1, 2, datetime(2024, 2, 1, tzinfo=UTC), "buy", 3.5),
    Event(2, 1, datetime(2024, 2, 2, tzinfo=UTC), "click", None, "recommended"),
]


def rows(lake: Lake) -> int:
    return sum(pq.read_metadata(path).num_rows for path in lake.paths("events"))


def test_events_wait_in_the_journal_and_then_lie_in_the_lake(tmp_path: Path, write_log: Callable) -> None:
    lake = write_log(tmp_path, [(1, 1, 0.0, "buy")])
    journal = Journal(lake)
    assert journal.append(EVENTS) == 2
    assert journal.pending() == EVENTS
    assert rows(lake) == 1
    assert journal.flush() == 2
    assert journal.pending() == []
    assert rows(lake) == 3
    assert journal.flush() == 0


def test_a_killed_process_loses_and_doubles_nothing(tmp_path: Path, write_log: Callable) -> None:
    lake = write_log(tmp_path, [(1, 1, 0.0, "buy")])
    folder = tmp_path / JOURNAL
    folder.mkdir()
    whole = b"".join(event.line() for event in EVENTS)
    (folder / "gone.jsonl").write_bytes(whole + EVENTS[0].line()[:20])
    assert Journal(lake).recover() == 2
    assert rows(lake) == 3
    # Killed after the lake had the events and before the file was removed.
    (folder / "gone.jsonl").write_bytes(whole)
    assert Journal(lake).pending() == []
    Journal(lake).recover()
    assert rows(lake) == 3
    assert not list(folder.glob("*.jsonl"))


def test_the_file_of_a_living_process_is_left_alone(tmp_path: Path, write_log: Callable) -> None:
    lake = write_log(tmp_path, [(1, 1, 0.0, "buy")])
    living = Journal(lake)
    living.append(EVENTS)
    assert Journal(lake).recover() == 0
    assert living.flush() == 2
