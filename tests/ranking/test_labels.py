from __future__ import annotations

from pathlib import Path

import pytest

from feature_repo.config import Roles, load_config
from feature_repo.errors import DataError
from feature_repo.periods import Window
from ranking.labels import label_gains, read_labels

ROLES = Roles(targets={"buy": 1.0, "click": 0.2}, consuming=["buy"])
LOG = [
    (1, 1, 10.0, "click"),
    (1, 1, 12.0, "buy"),
    (1, 2, 13.0, "click"),
    (2, 1, 9.999, "buy"),
    (2, 2, 15.0, "view"),
    (2, 3, 20.0, "buy"),
]


def read(write_log, day, directory: Path, gains: list[float], end: float = 20.0) -> list[tuple[int, int, int]]:
    with write_log(directory, LOG).connect(load_config()) as connection:
        table = read_labels(connection, Window(day(10), day(end)), gains, before=day(20))
    return [tuple(row.values()) for row in table.to_pylist()]


def test_labels_are_target_events_of_the_half_open_window(write_log, day, tmp_path: Path) -> None:
    assert read(write_log, day, tmp_path, [0.0, 1.0]) == [(1, 1, 1), (1, 2, 1)]


def test_graded_labels_take_the_weightiest_event(write_log, day, tmp_path: Path) -> None:
    gains = label_gains(ROLES, "graded")
    assert gains == [0.0, 0.2, 1.0]
    assert read(write_log, day, tmp_path, gains) == [(1, 1, 2), (1, 2, 1)]


def test_a_single_graded_weight_is_one_label(write_log, day, tmp_path: Path) -> None:
    gains = label_gains(Roles(targets={"buy": 3.0}, consuming=[]), "graded")
    assert gains == [0.0, 3.0]
    assert {label for *_, label in read(write_log, day, tmp_path, gains)} == {1}


def test_a_training_label_in_the_next_period_is_an_error(write_log, day, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="labels before 2024-01-21 00:00:00 UTC"):
        read(write_log, day, tmp_path, [0.0, 1.0], end=20.00001)
