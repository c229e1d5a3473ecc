"""Feast's checks of its own types: left out where a process asks for it before it imports Feast, and nowhere else."""

from __future__ import annotations

import subprocess
import sys

import pytest

WRONG = "from feast import Field\nField(name=5, dtype=5)"
LEFT_OUT = "from feature_repo import feast_checks\nfeast_checks.leave_out()\n"
OPENED = "import sys\nfrom ranking.serving import worker\nassert 'feast' not in sys.modules\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)


def test_a_definition_of_the_wrong_type_is_found_where_it_is_registered() -> None:
    assert "TypeCheckError" in run(WRONG).stderr


def test_a_process_that_defines_nothing_can_do_without() -> None:
    assert "TypeCheckError" not in run(LEFT_OUT + WRONG).stderr


def test_a_worker_asks_before_feast_is_imported() -> None:
    assert run(OPENED).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "left_out"), [(["apply"], False), (["features", "plan"], False), (["load"], True)]
)
def test_commands_that_read_definitions_keep_them(monkeypatch, arguments: list[str], left_out: bool) -> None:
    from ranking import __main__

    asked = []
    monkeypatch.setattr(__main__, "app", lambda: None)
    monkeypatch.setattr(__main__.feast_checks, "leave_out", lambda: asked.append(True))
    monkeypatch.setattr(sys, "argv", ["rankhouse", *arguments])

    __main__.main()

    assert bool(asked) is left_out
