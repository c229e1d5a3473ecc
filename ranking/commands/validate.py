"""`rankhouse validate`: time-ordered and user-grouped validation side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir


def validate(
    folds: Annotated[int, typer.Option(min=2, help="Folds of users of the training cuts.")] = 5,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Fit for the later window and for users held out of the training cuts; print both. Saves no model."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from feature_repo.workspace import Workspace
    from ranking.progress import shown_progress
    from ranking.validation import validate as run

    workspace = Workspace.open(data_dir, config)
    with shown_progress() as progress:
        found = run(workspace, folds=folds, progress=progress)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    for name in ("validation", "lists", "NDCG@10", "standard error", "trees"):
        table.add_column(name, justify="left" if name == "validation" else "right")
    for one in found:
        rounds = ", ".join(map(str, one.rounds))
        table.add_row(one.name, f"{one.lists:,}", f"{one.ndcg:.4f}", f"{one.error:.4f}", rounds)
    console = Console(highlight=False)
    console.print("Lists with something relevant among the candidates; what was not proposed is left out of account.")
    console.print(table)
