"""A ranker trained on shuffled labels knows nothing of other rows: AUC 0.5 within its interval, by real features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from feature_repo.workspace import Workspace
from ranking.ranker import Examples, fit_ranker
from ranking.train import Materials, read_materials

SEEDS = range(6)


@pytest.fixture(scope="module")
def materials(trained: Workspace) -> Materials:
    return read_materials(trained)


def shuffled(examples: Examples, seed: int) -> Examples:
    return replace(examples, labels=np.random.default_rng(seed).permutation(examples.labels))


def auc(workspace: Workspace, materials: Materials, train: Examples, test: Examples) -> float:
    fitted = fit_ranker(workspace.config.ranker, materials.gains, materials.encoding, train, rounds=20)
    return float(roc_auc_score(test.labels > 0, fitted.booster.predict(test.matrix)))


def interval(labels: np.ndarray) -> float:
    """Half the 99.9 % interval of the AUC of scores that know nothing (the variance of the rank-sum statistic)."""
    positive, negative = int((labels > 0).sum()), int((labels == 0).sum())
    return 3.29 * np.sqrt((positive + negative + 1) / (12 * positive * negative))


def test_shuffled_labels_teach_nothing(trained: Workspace, materials: Materials) -> None:
    """The mean of several shuffles, whose interval is narrower than that of one."""
    found = [
        auc(trained, materials, shuffled(materials.train, seed), shuffled(materials.validation, 100 + seed))
        for seed in SEEDS
    ]
    width = interval(materials.validation.labels) / np.sqrt(len(SEEDS))
    assert width < 0.08
    assert np.mean(found) == pytest.approx(0.5, abs=width)


def test_true_labels_teach_something(trained: Workspace, materials: Materials) -> None:
    """The same measure sees what there is to learn, so 0.5 above is no blindness."""
    found = auc(trained, materials, materials.train, materials.validation)
    assert found > 0.5 + interval(materials.validation.labels)


def test_a_column_that_knows_its_label_shows(trained: Workspace, materials: Materials) -> None:
    """A planted leak: shuffled labels written into a feature are found again on rows never trained on."""
    parts = []
    for seed, examples in enumerate((materials.train, materials.validation)):
        mixed = shuffled(examples, seed)
        matrix = mixed.matrix.copy()
        matrix[:, 0] = mixed.labels
        parts.append(replace(mixed, matrix=matrix))
    assert auc(trained, materials, *parts) > 0.5 + interval(materials.validation.labels)
