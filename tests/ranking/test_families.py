from __future__ import annotations

from feature_repo.workspace import Workspace
from ranking.families import columns_by_family, families_of, family, service_families
from ranking.service import service_columns


def test_a_source_is_a_family_and_so_is_a_view() -> None:
    views = {"candidates": ["als_wide_zscore", "best_rank", "sources_count"], "ages": ["user_rank", "score"]}
    assert families_of(views) == {
        "als_wide_zscore": "source als_wide",
        "best_rank": "candidates",
        "sources_count": "candidates",
        "user_rank": "ages",
        "score": "ages",
    }


def test_without_a_record_only_sources_are_told_apart() -> None:
    assert family("als_score", {}) == "source als"
    assert family("item_events", {}) == "features"
    assert columns_by_family(["a", "als_score", "b"], {}) == {"features": [0, 2], "source als": [1]}


def test_every_column_of_the_service_has_a_family(trained: Workspace) -> None:
    families = service_families(trained, "ranker_v1")
    assert list(families) == [name for name, _ in service_columns(trained, "ranker_v1")]
    assert {"source als", "source bm25_knn", "source recent_popularity", "candidates"} < set(families.values())
