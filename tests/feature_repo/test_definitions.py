"""Feast's own command line on the repo, unmodified: from another directory, for another data directory."""

from __future__ import annotations

import shutil
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import feature_repo
from feature_repo.data_set import DataSet
from feature_repo.discovery import discover
from feature_repo.errors import ContractError
from feature_repo.workspace import Workspace

REPO = Path(feature_repo.__file__).parent


@pytest.fixture
def feast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a Feast command from an unrelated directory; return what it printed."""
    from click.testing import CliRunner
    from feast.cli.cli import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*arguments: str) -> str:
        monkeypatch.delitem(sys.modules, "definitions", raising=False)
        result = CliRunner().invoke(cli, ["-c", str(REPO), *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        monkeypatch.chdir(tmp_path)
        return result.output

    return run


def test_apply_list_and_materialize(feast, world: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "elsewhere"
    shutil.copytree(world.data_dir, data, ignore=shutil.ignore_patterns("online_store.db*", "registry.db"))
    monkeypatch.setenv("RANKHOUSE_DATA_DIR", str(data))
    feast("apply")
    assert (data / "registry.db").exists()
    listed = feast("feature-views", "list")
    for view in ("user_activity", "item_popularity", "user_item", "candidates"):
        assert view in listed
    assert "ranker_v1" in feast("feature-services", "list")

    early, late = (f"{world.now - timedelta(days=days):%Y-%m-%dT%H:%M:%S}" for days in (20, 5))
    feast("materialize", "1970-01-01T00:00:00", early)
    assert (data / "online_store.db").exists()
    before = _value(data, world)
    feast("materialize-incremental", late)
    assert _value(data, world) > before


def _value(data: Path, world: Workspace) -> int:
    from feature_repo import store

    opened = store.open_store(Workspace(data, world.config))
    answer = opened.get_online_features(["user_activity:user_events_all"], {"user_id": list(range(1, 151))}).to_dict()
    return sum(value or 0 for value in answer["user_events_all"])


def test_apply_before_anything_was_loaded(feast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKHOUSE_DATA_DIR", str(tmp_path / "empty"))
    feast("apply")
    assert "item_popularity" in feast("feature-views", "list")


def test_feast_imports_one_module() -> None:
    from feast.repo_operations import get_repo_files

    assert [path.name for path in get_repo_files(REPO)] == ["definitions.py"]


def test_every_view_has_its_sql_and_its_name(world: Workspace) -> None:
    definitions = discover(DataSet.of(world))
    assert {path.stem for path in (REPO / "views").glob("*.sql")} == set(definitions.computed)
    names = [feature.name for view in (*definitions.views, *definitions.on_demand) for feature in view.features]
    assert sorted(name for name in names if names.count(name) > 1) == ["cut", "cut"]


def test_ids_take_the_type_of_the_lake(small_workspace) -> None:
    from feast import ValueType
    from feast.types import String

    definitions = discover(DataSet.of(small_workspace(0, strings=True)))
    assert {entity.value_type for entity in definitions.entities} == {ValueType.STRING}
    view = definitions.computed["user_item"]
    assert {field.dtype for field in view.entity_columns} == {String}
    lists = next(view for view in definitions.views if view.name == "user_candidates")
    assert str(next(field for field in lists.features if field.name == "candidate_items").dtype) == "Array(String)"


def test_a_view_must_be_named_like_its_file(world: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from feature_repo.views import user_activity, user_item

    monkeypatch.setattr(user_item, "define", user_activity.define)
    with pytest.raises(ContractError, match="user_item"):
        discover(DataSet.of(world))


def test_two_views_must_not_name_a_feature_alike(world: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from feast import Field
    from feast.types import Int32

    from feature_repo.views import item_popularity

    honest = item_popularity.define

    def define(data: DataSet):
        view = honest(data)
        view.features.append(Field(name="user_events_7d", dtype=Int32))
        return view

    monkeypatch.setattr(item_popularity, "define", define)
    with pytest.raises(ContractError, match="user_events_7d"):
        discover(DataSet.of(world))
