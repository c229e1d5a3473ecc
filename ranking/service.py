"""The feature service as a ranker sees it: a name and the exact columns that it yields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_repo.errors import MissingError, did_you_mean
from ranking.model_store import ServiceColumns

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace


def service_columns(workspace: Workspace, service: str) -> ServiceColumns:
    """Return (name, Feast dtype) of every feature of a registered service, in its order.

    Raises MissingError, with a near match, where the registry has no such service.
    """
    from feature_repo.store import open_store

    store = open_store(workspace)
    known = {known.name: known for known in store.list_feature_services()}
    if service not in known:
        raise MissingError(
            f"the registry of {workspace.data_dir}",
            expected=f"a feature service named {service}",
            got=", ".join(sorted(known)) or "no feature service",
            fix=f"Run `feast apply`, or correct `service` in rankhouse.yaml.{did_you_mean(service, known)}",
        )
    projections = known[service].feature_view_projections
    return tuple((field.name, str(field.dtype)) for projection in projections for field in projection.features)
