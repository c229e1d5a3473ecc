"""Families of features: what a feature view brings, and within the entity table what each candidate source says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from feature_repo.first_stage import CANDIDATES

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

SOURCE: Final = "source "
OTHERS: Final = "features"
_SAYS: Final = ("proposed", "score", "rank", "zscore", "percentile")


def service_families(workspace: Workspace, service: str) -> dict[str, str]:
    """Return the family of every column of a registered service: `source NAME`, or the feature view's name."""
    from feature_repo.store import feature_service, open_store

    projections = feature_service(open_store(workspace), service).feature_view_projections
    return families_of({projection.name: [field.name for field in projection.features] for projection in projections})


def families_of(views: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return the family of every column of these views.

    >>> families_of({"candidates": ["als_score", "best_rank"], "item_popularity": ["item_events_7d"]})
    {'als_score': 'source als', 'best_rank': 'candidates', 'item_events_7d': 'item_popularity'}
    """
    return {
        column: (source_of(column) if view == CANDIDATES else None) or view
        for view, columns in views.items()
        for column in columns
    }


def source_of(column: str) -> str | None:
    """Return `source NAME` for a column in which one source speaks, None for any other of the entity table."""
    source, _, says = column.rpartition("_")
    return SOURCE + source if source and says in _SAYS and column != "best_rank" else None


def family(column: str, families: Mapping[str, str]) -> str:
    """Return a column's family; without a record of it (models of older versions) only sources are told apart."""
    return families.get(column) or source_of(column) or OTHERS


def columns_by_family(columns: Iterable[str], families: Mapping[str, str]) -> dict[str, list[int]]:
    """Return the places of the columns of each family, families in order of their first column."""
    places: dict[str, list[int]] = {}
    for place, column in enumerate(columns):
        places.setdefault(family(column, families), []).append(place)
    return places
