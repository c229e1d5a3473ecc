"""The service in processes of its own, and clients that ask it from threads."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from time import perf_counter, sleep
from typing import Final

import httpx
import numpy as np

from feature_repo.workspace import Workspace

READY_SECONDS: Final = 300.0
CLIENTS: Final = 8
WORKERS: Final = 2


@dataclass(frozen=True)
class Server:
    """A running `rankhouse serve`."""

    url: str
    process: subprocess.Popen[bytes]

    def megabytes(self) -> float:
        """Return what the server and its workers hold in memory now (Linux)."""
        return sum(_resident(pid) for pid in _with_children(self.process.pid)) / 1024


@contextmanager
def serving(workspace: Workspace, workers: int = WORKERS) -> Iterator[Server]:
    """Run `rankhouse serve` on a free port until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ranking", "serve", "--port", str(port), "--workers", str(workers)]
    command += ["--data-dir", str(workspace.data_dir), "--config", str(workspace.config_path)]
    environment = {k: v for k, v in os.environ.items() if k != workspace.config.serving.api_key_env}
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL)
    try:
        server = Server(f"http://127.0.0.1:{port}", process)
        _wait_until_ready(server, 10 * (workers - 1) + 1)
        yield server
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_ready(server: Server, times: int) -> None:
    """Return when new connections are answered as ready so many times in a row: whichever worker takes them."""
    deadline, in_a_row = perf_counter() + READY_SECONDS, 0
    while in_a_row < times:
        if server.process.poll() is not None:
            raise RuntimeError(f"rankhouse serve ended with status {server.process.returncode}")
        if perf_counter() > deadline:
            raise TimeoutError(f"rankhouse serve is not ready after {READY_SECONDS:.0f} s")
        try:
            ready = httpx.get(f"{server.url}/ready", verify=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            ready = False
        in_a_row = in_a_row + 1 if ready else 0
        if not ready:
            sleep(0.2)


@dataclass(frozen=True)
class Load:
    """What clients saw: milliseconds of every answer, how many were errors, seconds that it all took."""

    milliseconds: np.ndarray
    errors: int
    seconds: float

    @property
    def rate(self) -> float:
        return len(self.milliseconds) / self.seconds


def ask_for(
    server: Server, users: Sequence[int], seconds: float, clients: int = CLIENTS, rate: float | None = None
) -> Load:
    """POST /recommend from `clients` threads, as fast as they are answered or at `rate` per second in all."""
    interval = 0.0 if rate is None else clients / rate
    begin = threading.Barrier(clients)

    def one(number: int) -> tuple[list[float], int]:
        with closing(HTTPConnection(server.url.removeprefix("http://"), timeout=30)) as connection:
            begin.wait()
            return _client(connection, users[number::clients], perf_counter() + seconds, interval)

    start = perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        results = list(pool.map(one, range(clients)))
    taken = perf_counter() - start
    times = np.concatenate([np.array(times) for times, _ in results]) * 1e3
    return Load(times, sum(errors for _, errors in results), taken)


def _client(connection: HTTPConnection, users: Sequence[int], end: float, interval: float) -> tuple[list[float], int]:
    """Ask over one connection; the standard library's client, since what it takes counts as the server's time here."""
    times, errors, due = [], 0, perf_counter()
    while perf_counter() < end:
        body = json.dumps({"user": users[len(times) % len(users)], "k": 10})
        start = perf_counter()
        try:
            connection.request("POST", "/recommend", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            errors += answer.status != httpx.codes.OK
        except (OSError, HTTPException):
            errors += 1
            connection.close()  # the next request opens it again
        times.append(perf_counter() - start)
        due = max(due + interval, perf_counter() if not interval else 0)
        sleep(max(due - perf_counter(), 0))
    return times, errors


def effect_of_events(server: Server, users: Sequence[int], event_type: str) -> list[float]:
    """Post that each user consumed the first item of its list; return milliseconds until a response leaves it out.

    Raises RuntimeError where the next response still has it.
    """
    taken = []
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for user in users:
            item = _items(client, user)[0]
            start = perf_counter()
            posted = client.post("/events", json={"events": [{"user": user, "item": item, "event_type": event_type}]})
            if item in _items(client, user):
                raise RuntimeError(f"{item} is still recommended to {user} after {posted.text}")
            taken.append((perf_counter() - start) * 1e3)
    return taken


def _items(client: httpx.Client, user: int) -> list[int]:
    answer = client.post("/recommend", json={"user": user, "k": 10})
    return [one["item"] for one in json.loads(answer.raise_for_status().content)["items"]]


def milliseconds(call: Callable[[int], object], repeats: int) -> np.ndarray:
    """Return what each of `repeats` calls took, after a few that do not count."""
    for number in range(min(repeats, 10)):
        call(number)
    taken = np.empty(repeats)
    for number in range(repeats):
        start = perf_counter()
        call(number)
        taken[number] = (perf_counter() - start) * 1e3
    return taken


def _with_children(pid: int) -> list[int]:
    found = [pid]
    for place in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in place.read_text(encoding="ascii").split():
            found += _with_children(int(child))
    return found


def _resident(pid: int) -> int:
    """Return the kilobytes that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)
