"""A tiny synthetic world with every stage of the chain done, built once per session, for all who want to read it."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from feature_repo.workspace import Workspace

TINY_CONFIG = {
    "split": {
        "train": [{"quantile": 0.5}, {"quantile": 0.65}],
        "validation": {"quantile": 0.75},
        "test": {"quantile": 0.88},
    },
    "candidates": {
        "seed": 1,
        "sources": {
            "recent_popularity": {"class": "candidate_gen.popularity.RecentPopularity", "depth": 15},
            "als": {
                "class": "candidate_gen.als.ALS",
                "depth": 15,
                "params": {"factors": 4, "iterations": 3},
                "publish": ["vectors"],
            },
            "bm25_knn": {"class": "candidate_gen.item_knn.BM25ItemKNN", "depth": 15, "publish": ["neighbours"]},
        },
    },
    "ranker": {
        "params": {"learning_rate": 0.1, "num_leaves": 7, "min_child_samples": 10},
        "rounds": 20,
        "early_stopping": 5,
        "seed": 1,
        "threads": 1,
    },
    "engine": {"threads": 1},
}


@contextmanager
def _own_environment() -> Iterator[None]:
    """Workspaces name themselves in the environment: undo that."""
    before = {name: os.environ.pop(name, None) for name in ("RANKHOUSE_DATA_DIR", "RANKHOUSE_CONFIG")}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration file with few cuts, shallow sources and few trees."""
    path = tmp_path_factory.mktemp("config") / "rankhouse.yaml"
    path.write_text(yaml.safe_dump(TINY_CONFIG, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_lake(tmp_path_factory: pytest.TempPathFactory, tiny_config: Path) -> Workspace:
    """A synthetic world, loaded and nothing more. Read only: `copy_of` gives one to write to."""
    from feature_repo.loading import LoadOptions, World, load_source

    with _own_environment():
        workspace = Workspace.open(tmp_path_factory.mktemp("tiny") / "data", tiny_config)
        world = World(users=160, items=90, days=40, seed=3)
        load_source("synthetic", workspace.lake, LoadOptions(world=world, config=workspace.config))
    return workspace


@pytest.fixture(scope="session")
def copy_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Workspace], Workspace]:
    """Copy a workspace to a directory of its own, to be changed."""

    def copy(workspace: Workspace) -> Workspace:
        target = tmp_path_factory.mktemp("copy") / "data"
        shutil.copytree(workspace.data_dir, target)
        return Workspace(target, workspace.config, workspace.config_path)

    return copy


@pytest.fixture(scope="session")
def run_chain() -> Callable[[Workspace], Workspace]:
    """Run every stage up to the evaluation on a loaded workspace; the online store stays empty."""
    from ranking import demo

    def run(workspace: Workspace) -> Workspace:
        stages = demo.stages()
        with _own_environment():
            for name in ("candidates", "features", "train", "evaluate"):
                stages[name](workspace, lambda what, done, total: None)
        return workspace

    return run


@pytest.fixture(scope="session")
def trained(
    tiny_lake: Workspace, copy_of: Callable[[Workspace], Workspace], run_chain: Callable[[Workspace], Workspace]
) -> Workspace:
    """The tiny world with candidates, features, a model and a report. Read only."""
    return run_chain(copy_of(tiny_lake))


@pytest.fixture(scope="session")
def served(trained: Workspace, copy_of: Callable[[Workspace], Workspace]) -> Workspace:
    """The trained tiny world with the online store at now. Read only."""
    from ranking.refresh import refresh

    workspace = copy_of(trained)
    with _own_environment():
        refresh(workspace)
    gc.collect()  # closes the stores, so that SQLite has written everything to its file
    return workspace


@pytest.fixture
def rankhouse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run `rankhouse ARGUMENTS` on a workspace; return the exit status and what it printed, with single spaces."""
    import sys

    from ranking.__main__ import main

    def call(workspace: Workspace, *arguments: str) -> tuple[int, str]:
        place = ["--data-dir", str(workspace.data_dir), "--config", str(workspace.config_path)]
        monkeypatch.setattr(sys, "argv", ["rankhouse", *arguments, *place])
        with _own_environment(), pytest.raises(SystemExit) as stopped:
            main()
        printed = capsys.readouterr()
        return int(stopped.value.code or 0), " ".join((printed.out + printed.err).split())

    return call


@pytest.fixture
def files_of() -> Callable[[Workspace], dict[str, bytes]]:
    """Return every file of a workspace with its bytes: to show that nothing changed."""

    def read(workspace: Workspace) -> dict[str, bytes]:
        root = workspace.data_dir
        paths = (path for path in root.rglob("*") if path.is_file() and path.suffix not in (".db-shm", ".db-wal"))
        return {str(path.relative_to(root)): path.read_bytes() for path in paths}

    return read


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Redis server of the tests' own, without a database number."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on the PATH")
    pytest.importorskip("redis", reason="Redis' client is not installed: rankhouse[redis]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen([*command, "--dir", str(tmp_path_factory.mktemp("redis"))], stdout=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(port: int) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("redis-server does not answer")
