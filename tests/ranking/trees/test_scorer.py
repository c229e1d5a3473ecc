"""Who scores changes nothing: LightGBM before the warm-up and for other trees, our walk after it."""

from __future__ import annotations

import subprocess
import sys

import lightgbm
import numpy as np
import pytest

from ranking.estimator import Plugged
from ranking.estimators.linear import Linear
from ranking.trees.scorer import Scorer


def booster(**params: object) -> lightgbm.Booster:
    rng = np.random.default_rng(0)
    data = lightgbm.Dataset(rng.normal(size=(800, 5)), rng.normal(size=800))
    return lightgbm.train({"verbosity": -1, "num_threads": 1, **params}, data, 20)


@pytest.fixture
def matrix() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(300, 5)).astype(np.float32)


def test_warming_up_changes_no_score(matrix: np.ndarray) -> None:
    scorer = Scorer(booster())
    before = scorer.predict(matrix)

    scorer.warm_up()

    assert scorer.forest is not None
    np.testing.assert_array_equal(scorer.predict(matrix), before)


def test_other_trees_and_estimators_go_on_as_they_were(matrix: np.ndarray) -> None:
    linear = Linear().fit(matrix, np.arange(300) % 2, group=np.array([300]))
    for other in (booster(linear_tree=True), Plugged(linear, 5)):
        scorer = Scorer(other)

        scorer.warm_up()

        assert scorer.forest is None
        np.testing.assert_array_equal(scorer.predict(matrix), other.predict(matrix, num_threads=1))


def test_numba_is_imported_by_the_warm_up_alone() -> None:
    code = "import sys, ranking.serving.path; assert 'numba' not in sys.modules"

    subprocess.run([sys.executable, "-c", code], check=True)
