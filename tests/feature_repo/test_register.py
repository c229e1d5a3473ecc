"""What the README says about registering a feature, done to the letter in a copy of the repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from feature_repo.workspace import Workspace

ROOT = Path(__file__).parents[2]
EDITED = ("user_events_7d", "user_events_14d", "user_events_30d")
WRITTEN = "item_returns_events_7d"

# Run in the copy: commands of `rankhouse`, then features as training and serving read them.
DRIVER = """
import json, sys
import pyarrow as pa
from typer.testing import CliRunner
from feature_repo import store
from feature_repo.services import RANKER
from feature_repo.workspace import Workspace
from ranking.cli import app

commands, names = map(json.loads, sys.argv[1:])
for command in commands:
    CliRunner().invoke(app, command, catch_exceptions=False)
workspace = Workspace.open()
with workspace.connect() as connection:
    pairs = connection.sql("SELECT DISTINCT user_id, item_id FROM events ORDER BY ALL LIMIT 200").to_arrow_table()
moments = pa.array([workspace.now] * pairs.num_rows, pa.timestamp("us", tz="UTC"))
offline = store.historical_features(workspace, pairs.append_column("event_timestamp", moments), RANKER)
online = store.online_features(workspace, pairs, RANKER)
print(json.dumps({name: [offline[name].to_pylist(), online[name].to_pylist()] for name in names}))
"""


Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, world: Workspace) -> Run:
    """A copy of the repository over the world's lake, edited as the README says; a way to run Python in it."""
    place = tmp_path_factory.mktemp("register")
    root = place / "copy"
    ignored = shutil.ignore_patterns("data", "__pycache__", ".*_cache")
    for folder in ("feature_repo", "candidate_gen", "ranking", "tests/feature_repo"):
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", root)
    shutil.copytree(world.data_dir / "lake", place / "data" / "lake")
    views = root / "feature_repo" / "views"
    [field] = block("python")
    steps, result = (line.split("--")[0].strip() for line in block("sql"))
    after(views / "user_activity.py", "user_key(data),", field)
    after(views / "user_activity.sql", "sum(in_7d * events) AS events_7d,", steps)
    after(views / "user_activity.sql", "events_7d AS user_events_7d,", result)
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "PYTHONSAFEPATH": "",
        "RANKHOUSE_DATA_DIR": str(place / "data"),
        "RANKHOUSE_CONFIG": str(root / "feature_repo" / "rankhouse.yaml"),
        "OMP_NUM_THREADS": "1",
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def registered(run: Run) -> dict[str, list[list]]:
    """The new features offline and online, after a new view was written and the README's commands were run."""
    readme = [line.split("#")[0].removeprefix("$ rankhouse").split() for line in block("console")]
    commands = [["features", "new", "item_returns", "--entity", "item"], *readme, ["materialize"]]
    return json.loads(run("-c", DRIVER, json.dumps(commands), json.dumps([*EDITED, WRITTEN])))


def section() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8").split("### Register a feature")[1].split("\n### ")[0]


def block(language: str) -> list[str]:
    return re.search(rf"```{language}\n(.*?)```", section(), re.DOTALL)[1].strip().splitlines()


def after(path: Path, anchor: str, line: str) -> None:
    """Insert a line behind the one that has the anchor, indented alike."""
    lines = path.read_text().splitlines()
    [place] = [number for number, text in enumerate(lines) if anchor in text]
    indent = lines[place][: len(lines[place]) - len(lines[place].lstrip())]
    lines.insert(place + 1, indent + line)
    path.write_text("\n".join(lines) + "\n")


def test_one_edit_reaches_training_and_serving(registered) -> None:
    for offline, online in (registered[name] for name in EDITED):
        assert offline == online
        assert sum(value is not None for value in offline) == len(offline)
    week, fortnight, month = (registered[name][0] for name in EDITED)
    assert all(a <= b <= c for a, b, c in zip(week, fortnight, month, strict=True))
    assert week != fortnight != month


def test_a_new_view_is_served_and_passes_its_test(registered, run: Run) -> None:
    offline, online = registered[WRITTEN]
    assert offline == online
    assert None not in offline
    tests = "tests/feature_repo/views/test_item_returns.py"
    assert "2 passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", tests)
