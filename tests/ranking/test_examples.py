"""Every example in a docstring of the package runs."""

from __future__ import annotations

import doctest
from importlib import import_module
from pkgutil import iter_modules

import pytest

import ranking


@pytest.mark.parametrize("name", sorted(info.name for info in iter_modules(ranking.__path__) if info.name[0] != "_"))
def test_examples(name: str) -> None:
    module = import_module(f"ranking.{name}")
    assert doctest.testmod(module).failed == 0
