"""A real server process is killed between two events: what it accepted is in the lake after the restart, once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from feature_repo import store
from feature_repo.workspace import Workspace
from ranking.skew import measure_skew

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
PATIENCE = 300.0


def call(port: int, path: str, body: dict | None = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    with urlopen(request, timeout=PATIENCE) as response:
        return json.loads(response.read())


@contextmanager
def server(workspace: Workspace, config: Path) -> Iterator[tuple[subprocess.Popen, int]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ranking", "serve", "--port", str(port)]
    command += ["--data-dir", str(workspace.data_dir), "--config", str(config)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                call(port, "/ready")
                break
            except (HTTPError, URLError, ConnectionError):
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.2)
        yield process, port
    finally:
        process.kill()
        process.wait()


def test_killing_and_restarting_loses_no_accepted_event(
    served: Workspace, copy_of: Callable[[Workspace], Workspace], tmp_path: Path
) -> None:
    import yaml

    workspace = copy_of(served)
    config = tmp_path / "rankhouse.yaml"
    raw = yaml.safe_load(workspace.config_path.read_text()) | {"serving": {"log_share": 1.0}}
    config.write_text(yaml.safe_dump(raw))
    workspace = Workspace.open(workspace.data_dir, config)
    store.apply(workspace)
    [event_type] = workspace.lake.manifest_roles().consuming[:1]
    before = count(workspace)
    with server(workspace, config) as (process, port):
        for item in range(1, 6):
            event = {"user": 7, "item": item, "event_type": event_type}
            assert call(port, "/events", {"events": [event]})["accepted"] == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert count(workspace) == before
    with server(workspace, config) as (process, port):
        assert count(workspace) == before + 5
        for user in (7, 8):
            assert call(port, "/recommend", {"user": user, "k": 5})["items"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) in (0, -signal.SIGTERM)
    assert count(workspace) == before + 5
    report = measure_skew(workspace)
    assert report.requests == 2
    assert report.faults == 0, [column for column in report.columns if column.faults]


def count(workspace: Workspace) -> int:
    with workspace.connect() as connection:
        return connection.execute("SELECT count(*) FROM events").fetchall()[0][0]
