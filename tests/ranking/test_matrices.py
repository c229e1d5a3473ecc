from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ranking import matrices
from ranking.encoding import learn_encoding
from ranking.matrices import fill_matrix, learn_matrix, parts, predict, stored_matrix, take_rows

WORDS = ["b", "a", None, "c", "a"]


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrices, "ROWS", 3)


def table_of(rows: int) -> pa.Table:
    number = np.random.default_rng(rows).normal(size=rows).astype(np.float32)
    numbers = pa.array(number, mask=number > 1)
    words = pa.array([WORDS[place % len(WORDS)] for place in range(rows)], pa.string())
    return pa.table({"one": numbers, "word": words, "whole": pa.array(range(rows)), "flag": pa.array(number > 0)})


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_a_matrix_learned_from_parts_is_that_of_the_whole(size: int, tmp_path: Path) -> None:
    whole, later = table_of(11), table_of(5)
    pieces = [whole.slice(start, size) for start in range(0, 11, size)]
    encoding, matrix = learn_matrix(iter(pieces), 11, 5, tmp_path)
    assert encoding == learn_encoding([whole])
    np.testing.assert_array_equal(matrix[:11], encoding.encode(whole))
    fill_matrix(encoding, iter([later]), matrix[11:])
    np.testing.assert_array_equal(matrix[11:], encoding.encode(later))
    np.testing.assert_array_equal(matrix[:11], encoding.encode(whole))


def test_a_matrix_lies_in_a_file_without_a_name_and_keeps_what_was_let_go(tmp_path: Path) -> None:
    matrix = stored_matrix(10, 2, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    matrix[:] = np.arange(20).reshape(10, 2)
    matrices.let_go(matrix[3:])
    read = [part.copy() for part in parts(matrix)]
    assert [len(part) for part in read] == [3, 3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(read), np.arange(20).reshape(10, 2))


@pytest.mark.parametrize("rows", [[], [0], [2, 3], [0, 1, 2, 3, 4, 5, 6], [6]])
def test_rows_are_taken_from_their_places(rows: list[int], tmp_path: Path) -> None:
    matrix = stored_matrix(7, 2, tmp_path)
    matrix[:] = np.arange(14).reshape(7, 2)
    places = np.array(rows, np.int64)
    np.testing.assert_array_equal(take_rows(matrix, places), matrix[places])
    np.testing.assert_array_equal(take_rows(np.array(matrix), places), matrix[places])
    out = stored_matrix(len(rows) + 1, 2, tmp_path)
    take_rows(matrix, places, out[: len(rows)])
    np.testing.assert_array_equal(out[: len(rows)], matrix[places])


def test_scores_of_parts_are_those_of_the_whole(tmp_path: Path) -> None:
    import lightgbm

    rng = np.random.default_rng(4)
    matrix = stored_matrix(500, 3, tmp_path)
    matrix[:] = rng.normal(size=(500, 3))
    booster = lightgbm.train(
        {"objective": "binary", "verbosity": -1}, lightgbm.Dataset(np.array(matrix), rng.random(500) < 0.5), 7
    )
    np.testing.assert_array_equal(predict(booster, matrix, rounds=4), booster.predict(matrix, num_iteration=4))
    np.testing.assert_array_equal(predict(booster, matrix, raw=True), booster.predict(matrix, raw_score=True))
    assert len(predict(booster, matrix[:0])) == 0
