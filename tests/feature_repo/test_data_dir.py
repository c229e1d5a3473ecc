from __future__ import annotations

from pathlib import Path

import pytest

import feature_repo
from feature_repo.data_dir import ENV, data_dir, resolve
from feature_repo.errors import ConfigError

REPO = Path("/some/repo")


def test_unset_variable_means_data_beside_the_repo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENV, raising=False)
    assert data_dir() == Path(feature_repo.__file__).parent / "data"
    assert data_dir(REPO) == REPO / "data"
    assert resolve("${RANKHOUSE_DATA_DIR}/online.db", REPO) == REPO / "data" / "online.db"
    assert resolve("$RANKHOUSE_DATA_DIR/a/b.db", REPO) == REPO / "data" / "a" / "b.db"
    assert resolve("${RANKHOUSE_DATA_DIR}", REPO) == REPO / "data"


def test_set_variable_wins_over_the_repo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, "/elsewhere")
    assert data_dir() == data_dir(REPO) == Path("/elsewhere")
    assert resolve("${RANKHOUSE_DATA_DIR}/online.db", REPO) == Path("/elsewhere/online.db")


def test_other_paths_are_absolute_or_relative_to_the_repo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, "/elsewhere")
    assert resolve("/abs/x.db", REPO) == Path("/abs/x.db")
    assert resolve("data/x.db", REPO) == REPO / "data" / "x.db"
    assert resolve("${RANKHOUSE_DATA_DIR_2}/x.db", REPO) == REPO / "${RANKHOUSE_DATA_DIR_2}" / "x.db"


@pytest.mark.parametrize("value", ["", "relative/dir"])
def test_variable_must_be_absolute(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(ENV, value)
    with pytest.raises(ConfigError, match="an absolute path, or the variable unset"):
        data_dir()
