from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from feature_repo.config import load_config
from feature_repo.errors import DataError
from feature_repo.periods import Window
from feature_repo.workspace import Workspace
from ranking.beyond_accuracy import Catalogue
from ranking.segments import UNKNOWN, attribute_segments, history_segments, item_classes
from ranking.truth import Truth, read_truth


def truth_of(users: list[int], window: Window) -> Truth:
    return Truth(window, pa.array(users), np.arange(len(users)), pa.array([1] * len(users)), catalogue=1)


def test_history_counts_distinct_consumed_items_before_the_cut(write_log, day, tmp_path: Path) -> None:
    log = [(1, 1, 1.0, "view"), (2, 1, 1.0, "buy"), (2, 1, 2.0, "buy"), (3, 40, 9.0, "buy")]
    log += [(3, item, 2.0, "buy") for item in range(6)] + [(4, item, 2.0, "dislike") for item in range(21)]
    with write_log(tmp_path, log).connect(load_config()) as connection:
        segments = history_segments(connection, truth_of([1, 2, 3, 4, 5], Window(day(9), day(10))))
    assert {segment.name: np.flatnonzero(segment.chosen).tolist() for segment in segments} == {
        "0": [0, 4],
        "1-5": [1],
        "6-20": [2],
        "21+": [3],
    }


def test_attributes_split_everyone_once(trained: Workspace) -> None:
    with trained.connect() as connection:
        truth = read_truth(connection, trained.periods.test, allow_repeats=False)
        for attribute, most in (("gender", 6), ("age", 5), ("country", 30)):
            segments = attribute_segments(trained, connection, truth, attribute)
            assert 1 < len(segments) <= most
            np.testing.assert_array_equal(sum(segment.chosen.astype(int) for segment in segments), 1)
            assert [segment.name for segment in segments].count(UNKNOWN) <= 1
        with pytest.raises(DataError, match='Did you mean "gender"'):
            attribute_segments(trained, connection, truth, "gendre")


def test_items_are_hot_warm_or_cold() -> None:
    targets = np.array([0, 1, 5, *range(6, 26), 900])
    catalogue = Catalogue(pa.array(range(len(targets))), targets, targets, csr_matrix((len(targets), 1)), 9)
    classes = {item_class.name: targets[item_class.chosen].tolist() for item_class in item_classes(catalogue)}
    assert classes["cold"] == [0, 1, 5]
    assert classes["hot"] == [24, 25, 900]
    assert sum(map(len, classes.values())) == len(targets)
