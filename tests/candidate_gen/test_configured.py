from __future__ import annotations

import pytest

from candidate_gen.configured import configured_sources
from feature_repo.config import CandidatesConfig, load_config
from feature_repo.errors import ConfigError


def build(class_path: str, **params: object) -> object:
    config = {"seed": 11, "sources": {"one": {"class": class_path, "params": params}}}
    return configured_sources(CandidatesConfig.model_validate(config))["one"]


def test_the_shipped_configuration_can_be_made():
    config = load_config().candidates
    assert list(configured_sources(config)) == list(config.sources)


def test_the_seed_reaches_sources_that_take_one():
    assert build("candidate_gen.als.ALS").seed == 11
    assert build("candidate_gen.als.ALS", seed=5).seed == 5


@pytest.mark.parametrize(
    ("class_path", "params", "message"),
    [
        ("candidate_gen.alls.ALS", {}, "No module named"),
        ("ALS", {}, "expected a class path"),
        ("candidate_gen.popularity.Popularty", {}, 'Did you mean "Popularity"'),
        ("candidate_gen.interactions.Interactions", {}, "expected a subclass"),
        ("candidate_gen.item_knn.ItemKNN", {}, "expected a subclass"),
        ("candidate_gen.als.ALS", {"factor": 3}, 'Did you mean "factors"'),
        ("candidate_gen.popularity.Popularity", {"depth": 3}, "it takes none"),
    ],
)
def test_what_cannot_be_made_is_explained(class_path, params, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build(class_path, **params)
    assert "candidates.sources.one" in str(caught.value)
