from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.workspace import Workspace
from ranking import model_store
from ranking.explain import contributions, importance
from ranking.families import service_families
from ranking.model_store import RankingModel
from ranking.service import service_columns
from ranking.train import read_materials


@pytest.fixture(scope="module")
def model(trained: Workspace) -> RankingModel:
    loaded = model_store.load(trained, service_columns(trained, "ranker_v1"))
    families = service_families(trained, loaded.manifest.service)
    return replace(loaded, manifest=replace(loaded.manifest, families=families))


def features_of(trained: Workspace, model: RankingModel) -> pa.Table:
    matrix = read_materials(trained).judge.matrix[:50]
    columns = {}
    for place, column in enumerate(model.manifest.encoding.columns):
        values = pa.array(matrix[:, place], from_pandas=True)
        if column.kind == "category":
            values = pa.array(column.vocabulary, pa.string()).take(values.cast(pa.int32()))
        columns[column.name] = values
    return pa.table(columns)


def test_contributions_sum_to_the_score_per_column_and_per_family(trained: Workspace, model: RankingModel) -> None:
    features = features_of(trained, model)
    explained = contributions(model, features)
    scores = model.score(features)
    np.testing.assert_allclose(explained.base + explained.values.sum(axis=1), scores, atol=1e-9)
    by_family = explained.by_family()
    np.testing.assert_allclose(explained.base + sum(by_family.values()), scores, atol=1e-9)
    assert set(by_family) == set(model.manifest.families.values())
    (name, value), *_ = explained.largest(0)
    assert abs(value) == np.abs(explained.values[0]).max()
    assert value == explained.values[0, explained.names.index(name)]


def test_importance_shares_sum_to_one(trained: Workspace) -> None:
    found = importance(trained, rows=300)
    assert found.rows == 300
    for weights in (found.families, found.columns):
        assert sum(weight.gain for weight in weights) == pytest.approx(1)
        assert sum(weight.shap for weight in weights) == pytest.approx(1)
        assert [weight.shap for weight in weights] == sorted((weight.shap for weight in weights), reverse=True)
    assert importance(trained, rows=300) == found
