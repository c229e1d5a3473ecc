"""The one module that `feast apply` imports: everything that the folders define, for the current data directory."""

from __future__ import annotations

from feature_repo.data_set import DataSet
from feature_repo.discovery import discover
from feature_repo.workspace import Workspace

# Feast looks for its objects among a module's attributes.
globals().update(
    {f"{type(thing).__name__}_{thing.name}": thing for thing in discover(DataSet.of(Workspace.open())).objects}
)
