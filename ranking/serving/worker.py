"""What each process of `rankhouse serve` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_repo import feast_checks

if TYPE_CHECKING:
    from ranking.serving.guard import Guard


def create() -> Guard:
    """Make the application for the workspace that the environment names."""
    feast_checks.leave_out()
    # Feast is imported with the application.
    from ranking.serving import app

    return app.create()
