"""`rankhouse evaluate`: every generator, the union and two-stage on the test window."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir


def evaluate(
    model: Annotated[str | None, typer.Option(help="Model to evaluate.  [default: the current one]")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Length of the lists.")] = 10,
    export: Annotated[
        Path | None, typer.Option(help="Write the lists as Parquet: user_id, item_id, rank, score.")
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Score the candidates of the test cut and judge every ranking by what users consumed after it."""
    from rich.console import Console

    from feature_repo.workspace import Workspace
    from ranking.evaluate import evaluate as evaluate_model
    from ranking.evaluate import report_path, write_report
    from ranking.export import write_lists
    from ranking.progress import shown_progress
    from ranking.report import render

    workspace = Workspace.open(data_dir, config)
    with shown_progress() as progress:
        report, lists = evaluate_model(workspace, model=model, k=k, progress=progress)
    write_report(report, report_path(workspace))
    console = Console(highlight=False)
    console.print(render(report))
    if export is not None:
        write_lists(lists, export)
        console.print(f"{lists.num_rows:,} recommendations in {export}")
