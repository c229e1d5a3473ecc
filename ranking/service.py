"""The feature service as a ranker sees it: a name and the exact columns that it yields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ranking.model_store import ServiceColumns

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace


def service_columns(workspace: Workspace, service: str) -> ServiceColumns:
    """Return (name, Feast dtype) of every feature of a registered service, in its order.

    Raises MissingError, with a near match, where the registry has no such service.
    """
    from feature_repo.store import feature_service, open_store

    projections = feature_service(open_store(workspace), service).feature_view_projections
    return tuple((field.name, str(field.dtype)) for projection in projections for field in projection.features)
