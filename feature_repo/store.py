"""The feature store of one workspace, through Feast's own Python interface.

Feast's chatter is kept off the terminal; its errors are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore

    from feature_repo.workspace import Workspace


def open_store(workspace: Workspace) -> FeatureStore:
    """Return Feast's FeatureStore over the workspace's data directory."""
    raise NotImplementedError


def apply(workspace: Workspace) -> FeatureStore:
    """Register the definitions for this workspace (`feast apply`) and return the store."""
    raise NotImplementedError


def materialize(workspace: Workspace) -> None:
    """Bring the online store up to the declared clock."""
    raise NotImplementedError


def historical_features(workspace: Workspace, entities: pa.Table, service: str) -> pa.Table:
    """Return `entities` (user_id, item_id, event_timestamp, more) with the service's features as known at each row's time.

    Rows keep their order. Raises MissingError for a service that is not registered.
    """
    raise NotImplementedError


def online_features(workspace: Workspace, pairs: pa.Table, service: str) -> pa.Table:
    """Return `pairs` (user_id, item_id) with the service's features as the online store holds them now."""
    raise NotImplementedError
