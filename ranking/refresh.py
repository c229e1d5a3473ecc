"""Bring the store to now: stage one refitted on all events, candidates for everyone, features, the online store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from candidate_gen.entity_table import write_candidates
from candidate_gen.pipeline import Progress, silent

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace


def refresh(workspace: Workspace, *, allow_repeats: bool | None = None, progress: Progress = silent) -> None:
    """Refit stage one on all events before the clock, write everyone's candidates for now, and publish them online.

    `allow_repeats` overrides the configuration.
    """
    from feature_repo.building.run import build_features
    from feature_repo.store import apply, materialize

    write_candidates(workspace, [workspace.now], users="all", allow_repeats=allow_repeats, progress=progress)
    build_features(workspace, cuts=[workspace.now], progress=progress)
    apply(workspace)
    progress("materialize", 0, 1)
    materialize(workspace)
    progress("materialize", 1, 1)
