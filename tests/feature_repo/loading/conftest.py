"""A lake of its own per test, and a way to load into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from feature_repo.lake import Lake, new_connection
from feature_repo.loading import LoadOptions, LoadReport, load_source

NOW = datetime(2025, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def options() -> LoadOptions:
    return LoadOptions(wall_clock=NOW)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "data")


@pytest.fixture
def load(lake: Lake, options: LoadOptions) -> Callable[..., LoadReport]:
    """Load a source into the test's lake, on a wall clock that stands still."""

    def run(source: Path | str, **changes: object) -> LoadReport:
        return load_source(str(source), lake, replace(options, **changes))

    return run


@pytest.fixture
def rows(lake: Lake, options: LoadOptions) -> Callable[[str], list[tuple]]:
    """Run SQL over the lake's views `events`, `users`, `items` and return its rows."""

    def run(sql: str) -> list[tuple]:
        with lake.connect(options.config) as connection:
            return connection.execute(sql).fetchall()

    return run


@pytest.fixture
def digest(lake: Lake) -> Callable[[], dict[str, str]]:
    """Return every file of the lake with a digest of its bytes."""

    def run() -> dict[str, str]:
        files = sorted(path for path in lake.root.rglob("*") if path.is_file())
        return {str(path.relative_to(lake.root)): sha256(path.read_bytes()).hexdigest() for path in files}

    return run


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, str | bytes]], Path]:
    """Write files into a directory of the test and return it."""

    def run(files: dict[str, str | bytes], directory: str = "source") -> Path:
        folder = tmp_path / directory
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    return run


@pytest.fixture
def query(options: LoadOptions) -> Callable[[str], list[tuple]]:
    """Run SQL on a connection of its own."""

    def run(sql: str) -> list[tuple]:
        with new_connection(options.config.engine) as connection:
            return connection.execute(sql).fetchall()

    return run
