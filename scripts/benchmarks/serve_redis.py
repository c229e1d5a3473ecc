"""Features read from Feast's Redis store: by Feast itself, and by the bulk path in one pipelined call.

The server is one of its own, in memory alone, where `redis-server` is on the PATH; the client comes from
`requirements-serve.txt`, in an environment of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Final

from online_store import CANDIDATES, END, START, USERS, Times, bulk, read_items, register
from peer_environment import peer_python
from report import Row

from feature_repo.store import quiet

CASE: Final = "read 500, redis"
START_SECONDS: Final = 10.0


def measure(folder: Path, sources: list[Path], repeats: int) -> list[Row]:
    """Return the rows of the case; none where there is no redis-server."""
    if shutil.which("redis-server") is None:
        return []
    with running(folder) as port:
        command = [sys.executable, __file__, str(port), str(folder / "redis"), str(repeats), *map(str, sources)]
        paths = [*sys.path[1:], str(client_path())]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
        figures = json.loads(subprocess.check_output(command, env=environment, stderr=subprocess.DEVNULL))
    ours, peer = (Times(*figures[name]) for name in ("ours", "stock"))
    return [Row(CASE, name, "ms", getattr(ours, name), getattr(peer, name), "redis") for name in ("p50", "p99")]


def client_path() -> Path:
    """Return the folder that holds Redis' client."""
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.check_output([peer_python("serve"), "-c", script], text=True).strip())


@contextmanager
def running(folder: Path) -> Iterator[int]:
    """Run a server that keeps nothing until the block ends; yield its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(int(START_SECONDS / 0.1)):
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        sleep(0.1)
    raise RuntimeError("redis-server does not answer")


def times_of(port: int, folder: Path, sources: list[Path], repeats: int) -> dict[str, tuple[float, float]]:
    """Fill Feast's Redis store by Feast's own engine, then read from it both ways."""
    with quiet():
        store = register(folder, sources, "stock", {"type": "redis", "connection_string": f"127.0.0.1:{port}"})
        store.materialize(START, END)
    service, items = store.get_feature_service("all"), read_items()

    def ask(user: int) -> object:
        rows = {"user_id": [user % USERS] * CANDIDATES, "item_id": items[user % USERS].tolist()}
        return store.get_online_features(service, rows)

    stock = Times.of(ask, max(repeats // 10, 10))
    ours = Times.of(bulk(store, items), repeats)
    return {"ours": (ours.p50, ours.p99), "stock": (stock.p50, stock.p99)}


if __name__ == "__main__":
    given = sys.argv[1:]
    print(json.dumps(times_of(int(given[0]), Path(given[1]), [Path(name) for name in given[3:]], int(given[2]))))
