"""A real server process is killed between two events: what it accepted is in the lake after the restart, once."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from feature_repo.workspace import Workspace
from ranking.skew import measure_skew

pytestmark = pytest.mark.slow
PATIENCE = 300.0


def count(workspace: Workspace) -> int:
    with workspace.connect() as connection:
        return connection.execute("SELECT count(*) FROM events").fetchall()[0][0]


def test_killing_and_restarting_loses_no_accepted_event(
    logging_all: Workspace, server: Callable, ask: Callable[..., dict]
) -> None:
    workspace = logging_all
    [event_type] = workspace.lake.manifest_roles().consuming[:1]
    before = count(workspace)
    with server(workspace) as (process, port):
        for item in range(1, 6):
            event = {"user": 7, "item": item, "event_type": event_type}
            assert ask(port, "/events", {"events": [event]})["accepted"] == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert count(workspace) == before
    with server(workspace) as (process, port):
        assert count(workspace) == before + 5
        for user in (7, 8):
            assert ask(port, "/recommend", {"user": user, "k": 5})["items"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) in (0, -signal.SIGTERM)
    assert count(workspace) == before + 5
    report = measure_skew(workspace)
    assert report.requests == 2
    assert report.faults == 0, [column for column in report.columns if column.faults]
