"""`rankhouse refresh`: bring candidates, features and the online store to now."""

from __future__ import annotations

from typing import Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir


def refresh(
    allow_repeats: Annotated[bool, typer.Option("--allow-repeats", help="Propose what was consumed before.")] = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Refit stage one on all events, write everyone's candidates and features for now, and materialize them."""
    from rich.console import Console

    from feature_repo.workspace import Workspace
    from ranking.progress import shown_progress
    from ranking.refresh import refresh as bring_to_now

    workspace = Workspace.open(data_dir, config)
    with shown_progress() as progress:
        bring_to_now(workspace, allow_repeats=True if allow_repeats else None, progress=progress)
    Console(highlight=False).print(f"The online store stands at {workspace.now:%Y-%m-%d %H:%M:%S} UTC.")
