"""Ids as callers send them, and as the data has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.errors import DataError, MissingError
from ranking.serving.catalogue import Catalogue


def catalogue(items: list, kind: str) -> Catalogue:
    array = pa.array(items)
    return Catalogue(None, array, pa.nulls(len(items), pa.string()), np.ones(len(items), bool), kind, kind)


@pytest.mark.parametrize(
    ("given", "expected"), [([7, 3, 7], [3, 7]), (["7", 3], [3, 7]), ([" 3 "], [3]), ([np.iinfo(np.int64).max], None)]
)
def test_whole_numbers(given: list[Any], expected: list[int] | None) -> None:
    whole = catalogue([3, 7, 9], "int64")
    if expected is None:
        with pytest.raises(MissingError):
            whole.array(given)
    else:
        assert whole.array(given).to_pylist() == expected


@pytest.mark.parametrize("wrong", [True, 3.0, None, "x", "", 1 << 63, -(1 << 63) - 1, 1 << 200, [3]])
def test_what_is_no_whole_number(wrong: object) -> None:
    with pytest.raises(DataError, match="a whole number"):
        catalogue([0, 1, 3], "int64").array([3, wrong])


def test_texts() -> None:
    texts = catalogue(["10", "a", "é\0"], "string")
    assert texts.array(["é\0", "a", 10]).to_pylist() == ["10", "a", "é\0"]
    with pytest.raises(MissingError):
        texts.array(["A"])
    with pytest.raises(DataError, match="a text"):
        texts.array(["\ud800"])
