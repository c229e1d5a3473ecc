"""`scripts/benchmarks/repeatable.py`: the whole chain from two empty directories, and what is said of its files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts" / "benchmarks"))

import repeatable

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["synthetic", "ml-100k"])
def test_training_from_nothing_gives_the_same_bytes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = name if name == "synthetic" else str(DATA / name)
    if name != "synthetic" and not Path(source).exists():
        pytest.skip(f"{name} is not beside the repository")
    assert repeatable.main([source]) == 0
    printed = capsys.readouterr().out
    assert "model.txt" in printed
    assert "the same to the byte" in printed


def test_one_byte_more_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in (("one", "tree"), ("two", "tree ")):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "model" / "model.txt").write_text(content, encoding="utf-8")
    first, second = (repeatable.digests(tmp_path / name) for name in ("one", "two"))
    assert first.keys() == second.keys() == {"model/model.txt"}
    repeatable.show(first, second)
    assert "NOT the same" in capsys.readouterr().out


def test_a_directory_that_is_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="name another directory"):
        repeatable.chain("synthetic", tmp_path, None)
