from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np
import pyarrow as pa
import pytest
import yaml

from feature_repo import store
from feature_repo.config import load_config
from feature_repo.workspace import Workspace
from ranking.serving.clock import ServingClock
from ranking.serving.path import RequestPath
from ranking.serving.pool import Pool

ROOT = Path(__file__).parents[3]
PATIENCE = 300.0
NOW = datetime(2024, 6, 1, tzinfo=UTC)


class Columns:
    """Stands in for what was read: Arrow columns by name."""

    def __init__(self, columns: Mapping[str, pa.Array]) -> None:
        self._columns = columns

    def array(self, name: str) -> pa.Array:
        return self._columns[name]


@pytest.fixture
def pool() -> Callable[..., Pool]:
    """Make a pool of items 1, 2, ... from columns as lists or Arrow arrays."""

    def make(context: Mapping[str, object] | None = None, **columns: list | pa.Array) -> Pool:
        arrays = {
            name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in columns.items()
        }
        rows = len(next(iter(arrays.values())))
        items = pa.array(np.arange(1, rows + 1))
        return Pool(items, {"stored": np.ones(rows, bool)}, Columns(arrays), NOW, context or {})

    return make


def call(port: int, path: str, body: dict | None = None) -> dict:
    """Ask a server for JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    with urlopen(request, timeout=PATIENCE) as response:
        return json.loads(response.read())


@contextmanager
def run_server(workspace: Workspace) -> Iterator[tuple[subprocess.Popen, int]]:
    """Run `rankhouse serve` as a process of its own; yield it with its port once it is ready, and kill it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ranking", "serve", "--port", str(port)]
    command += ["--data-dir", str(workspace.data_dir), "--config", str(workspace.config_path)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        wait_for(process, port)
        yield process, port
    finally:
        process.kill()
        process.wait()


def wait_for(process: subprocess.Popen, port: int) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            call(port, "/ready")
            return
        except (HTTPError, URLError, ConnectionError):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)


@pytest.fixture
def server() -> Callable[[Workspace], AbstractContextManager[tuple[subprocess.Popen, int]]]:
    return run_server


@pytest.fixture
def ask() -> Callable[..., dict]:
    return call


@pytest.fixture
def logging_all(served: Workspace, copy_of: Callable[[Workspace], Workspace], tmp_path: Path) -> Workspace:
    """A workspace of its own, registered, of which every request is logged, with its configuration as a file."""
    workspace = copy_of(served)
    config = tmp_path / "rankhouse.yaml"
    raw = yaml.safe_load(workspace.config_path.read_text(encoding="utf-8")) | {"serving": {"log_share": 1.0}}
    config.write_text(yaml.safe_dump(raw), encoding="utf-8")
    workspace = Workspace(workspace.data_dir, load_config(config), config)
    store.apply(workspace)
    return workspace


@pytest.fixture(scope="module")
def path(served: Workspace) -> RequestPath:
    return RequestPath.open(served)


@pytest.fixture(scope="module")
def now(served: Workspace) -> datetime:
    return ServingClock(served).now()
