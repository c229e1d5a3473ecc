"""A view from the template works at once: in a checkout of its own, its test passes and its feature is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.building.scaffold import new_view
from feature_repo.errors import ContractError, MissingError

FOLDERS = ("feature_repo/views", "feature_repo/on_demand", "tests/feature_repo/views")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for folder in FOLDERS:
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("entity", ["user", "item", "user_item"])
def test_three_files_are_written(checkout: Path, entity) -> None:
    paths = new_view("fresh_view", entity, checkout)
    assert [str(path.relative_to(checkout)) for path in paths] == [
        "feature_repo/views/fresh_view.py",
        "feature_repo/views/fresh_view.sql",
        "tests/feature_repo/views/test_fresh_view.py",
    ]
    for path in (paths[0], paths[2]):
        compile(path.read_text(), path, "exec")
    assert not [path for path in checkout.rglob("*") if path.suffix == ".tmp"]


@pytest.mark.parametrize("name", ["Fresh", "fresh-view", "1st", "class", "", "../up"])
def test_a_name_must_be_one(checkout: Path, name: str) -> None:
    with pytest.raises(ContractError, match="the view's name"):
        new_view(name, "item", checkout)


def test_a_taken_name_is_refused_and_nothing_is_written(checkout: Path) -> None:
    (checkout / "feature_repo/on_demand/affinity.py").touch()
    with pytest.raises(ContractError, match=r"affinity\.py exists"):
        new_view("affinity", "item", checkout)
    new_view("fresh", "item", checkout)
    before = {path: path.read_text() for path in checkout.rglob("*.*") if path.is_file()}
    with pytest.raises(ContractError, match="exists"):
        new_view("fresh", "user", checkout)
    assert {path: path.read_text() for path in checkout.rglob("*.*") if path.is_file()} == before


def test_no_checkout_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="checkout"):
        new_view("fresh", "item", tmp_path)
