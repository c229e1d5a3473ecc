"""`rankhouse load`: a table for a load, one message and status 2 for bad input, nothing changed on disk."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

import pytest

from ranking.__main__ import main

WORLD = ("synthetic", "--users", "30", "--items", "30", "--days", "5")
EVENTS = "user_id,item_id,event_timestamp\n"
MAPPING = "name: shop\nevents: {files: e.csv}\nitems: {files: i.csv}\n"
ITEMS = "item_id,title\n1,A\n"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def run(monkeypatch, capsys, data_dir):
    """Run `rankhouse load ...`; return exit status, standard output, standard error with single spaces."""
    for name in ("RANKHOUSE_DATA_DIR", "RANKHOUSE_CONFIG"):
        monkeypatch.setenv(name, "")  # so that what the command exports is undone
        monkeypatch.delenv(name)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rankhouse", "load", *arguments, "--data-dir", str(data_dir)])
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = capsys.readouterr()
        return stopped.value.code or 0, printed.out, " ".join(printed.err.split())

    return call


def _digest(folder: Path) -> dict[str, str]:
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def _write(folder: Path, files: dict[str, str]) -> str:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return str(folder)


def test_a_table_and_then_nothing_new(run, data_dir):
    status, out, _ = run(*WORLD)
    assert status == 0
    assert "impression" in out
    before = _digest(data_dir)
    status, out, _ = run(*WORLD)
    assert (status, "Nothing new" in out) == (0, True)
    assert _digest(data_dir) == before


def test_another_seed_is_another_world(run):
    run(*WORLD)
    status, _, err = run(*WORLD, "--seed", "8")
    assert status == 2
    assert "setting seed: expected 7, as in the lake, got 8" in err


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"e.csv": "user,item_id,event_timestamp\n1,1,2024-01-01\n"}, "without user_id"),
        ({"e.csv": EVENTS + "1,1,2024-01-01,9\n"}, "e.csv, line 2: expected 3 columns, got 4"),
        ({"e.csv": EVENTS + "1,1,not yet\n"}, "expected a time, got 'not yet'"),
        ({"e.csv": EVENTS + "1,1,2999-01-01\n"}, "got '2999-01-01'. Correct the time"),
        ({"e.csv": EVENTS + ",1,2024-01-01\n"}, 'row 1, column "user_id": expected a value, not null or blank'),
        ({"i.csv": "item_id,title\n1,A\n1,B\n"}, "item_id 1: expected one row per id"),
        ({"e.csv": EVENTS + "1,1,2024-01-01\nu2,1,2024-01-01\n"}, "user_id: expected ids of one type"),
        ({"e.csv": ""}, "got an empty file"),
        ({"mapping.yaml": MAPPING.replace("events", "event")}, "key event"),
    ],
)
def test_bad_input(run, data_dir, tmp_path, files, expected):
    good = {"e.csv": EVENTS + "1,1,2024-01-01\n", "i.csv": ITEMS, "mapping.yaml": MAPPING}
    assert run(_write(tmp_path / "good", good))[0] == 0
    before = _digest(data_dir)
    status, out, err = run(_write(tmp_path / "bad", {**good, **files}))
    assert (status, out) == (2, "")
    assert err.startswith("Error ")
    assert expected in err
    assert "Traceback" not in err
    assert _digest(data_dir) == before


@pytest.mark.parametrize("source", ["nowhere", "empty"])
def test_no_known_data_set(run, data_dir, tmp_path, source):
    (tmp_path / "empty").mkdir()
    status, _, err = run(str(tmp_path / source))
    assert status == 2
    assert "expected a directory" in err
    assert not data_dir.exists()
