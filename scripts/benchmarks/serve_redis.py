"""Features read from Redis: Feast's store by Feast itself and by the bulk path, and the packed store by the bulk path.

The server is one of its own, in memory alone, where `redis-server` is on the PATH and Redis' client is installed
(`rankhouse[redis]`).
"""

from __future__ import annotations

import importlib.util
import json
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
from report import Row

from feature_repo.store import quiet

CASES: Final = {"packed": "read 500, redis", "stock": "read 500, redis, Feast's layout"}
PACKED: Final = "feature_repo.stores.online_redis.PackedRedisOnlineStore"
START_SECONDS: Final = 10.0


def missing() -> str | None:
    """Return what the cases lack here, None where they can be run."""
    if shutil.which("redis-server") is None:
        return "no redis-server on the PATH"
    return None if importlib.util.find_spec("redis") else "Redis' client is not installed"


def measure(folder: Path, sources: list[Path], repeats: int) -> list[Row]:
    """Return the rows of the cases; none where something is missing."""
    if missing():
        return []
    with running(folder) as port:
        command = [sys.executable, __file__, str(port), str(folder), str(repeats), *map(str, sources)]
        figures = json.loads(subprocess.check_output(command, stderr=subprocess.DEVNULL))
    peer = Times(*figures["feast"])
    return [
        Row(case, name, "ms", getattr(ours, name), getattr(peer, name), "redis")
        for case, ours in ((case, Times(*figures[store])) for store, case in CASES.items())
        for name in ("p50", "p99")
    ]


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
    """Fill both stores, each by its own engine, then read: Feast's own way, and the bulk path on both."""
    online = {
        "packed": {"type": PACKED, "url": f"redis://127.0.0.1:{port}/1"},
        "stock": {"type": "redis", "connection_string": f"127.0.0.1:{port}"},
    }
    with quiet():
        stores = {name: register(folder / f"redis_{name}", sources, name, online[name]) for name in CASES}
        for store in stores.values():
            store.materialize(START, END)
    stock, items = stores["stock"], read_items()
    service = stock.get_feature_service("all")

    def ask(user: int) -> object:
        rows = {"user_id": [user % USERS] * CANDIDATES, "item_id": items[user % USERS].tolist()}
        return stock.get_online_features(service, rows)

    taken = {"feast": Times.of(ask, max(repeats // 10, 10))}
    taken |= {name: Times.of(bulk(store, items), repeats) for name, store in stores.items()}
    return {name: (times.p50, times.p99) for name, times in taken.items()}


if __name__ == "__main__":
    given = sys.argv[1:]
    print(json.dumps(times_of(int(given[0]), Path(given[1]), [Path(name) for name in given[3:]], int(given[2]))))
