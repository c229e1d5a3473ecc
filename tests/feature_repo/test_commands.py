"""`rankhouse features`, `rankhouse apply` and `rankhouse materialize` as a user runs them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feature_repo.errors import MissingError
from feature_repo.workspace import Workspace
from ranking.cli import app


@pytest.fixture
def rankhouse(world: Workspace, tmp_path: Path):
    """Run a command on a data directory that has nothing but the world's log."""
    shutil.copytree(world.data_dir / "lake", tmp_path / "data" / "lake")

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, [*arguments, "--data-dir", str(tmp_path / "data")], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_plan_build_apply_materialize(rankhouse, tmp_path: Path) -> None:
    assert "never built" in rankhouse("features", "plan")
    assert not (tmp_path / "data" / "features").exists()
    assert "user_activity" in rankhouse("features", "build", "user_activity")
    rankhouse("features", "build")
    assert "never built" not in rankhouse("features", "plan")
    assert "service ranker_v1" in rankhouse("apply")
    assert "item_popularity" in rankhouse("materialize")
    assert "no view looks ahead" in rankhouse("features", "check", "item_popularity")


def test_an_unknown_view_changes_nothing(rankhouse, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="item_popularity"):
        rankhouse("features", "build", "item_popularty")
    assert not (tmp_path / "data" / "features").exists()
