"""`rankhouse demo`: every stage of the chain on one data set, from its files to one user's list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ranking.commands.options import ConfigFile

if TYPE_CHECKING:
    from ranking.demo import DemoRun


def demo(
    source: Annotated[
        str, typer.Argument(help="What `rankhouse load` takes: a directory, or `synthetic`.")
    ] = "synthetic",
    user: Annotated[str | None, typer.Option(help="Whom to serve at the end.  [default: a judged user]")] = None,
    seed: Annotated[int, typer.Option(help="Which synthetic world.")] = 7,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="Default: a directory per source under feature_repo/data.", show_default=False),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Load, candidates, features, train, evaluate, refresh, recommend; what is current is not done again."""
    from time import perf_counter

    from rich.console import Console

    from feature_repo.loading import LoadOptions, World, load_source
    from feature_repo.workspace import Workspace
    from ranking.commands.recommend import print_answer
    from ranking.demo import DemoRun, someone, stages
    from ranking.evaluation import read_report
    from ranking.progress import shown_progress
    from ranking.recommend import recommend
    from ranking.report import render

    console, status = Console(highlight=False), Console(stderr=True, highlight=False)
    workspace = Workspace.open(data_dir or _own_directory(source, seed), config)
    run = DemoRun(workspace)
    start = perf_counter()
    status.print(f"load {source} into {workspace.data_dir}")
    load_source(source, workspace.lake, LoadOptions(world=World(seed=seed), config=workspace.config))
    run.seconds["load"] = perf_counter() - start
    with shown_progress() as progress:
        for stage in run.run(stages(), lambda name: lambda what, done, total: progress(f"{name}: {what}", done, total)):
            status.print(stage)
    console.print(render(read_report(workspace)))
    start = perf_counter()
    answer = recommend(workspace, user or someone(workspace))
    run.seconds["recommend"] = perf_counter() - start
    print_answer(answer)
    _print_times(run)


def _own_directory(source: str, seed: int) -> Path:
    """A directory of its own per source, so that demos lie side by side."""
    from feature_repo.data_dir import data_dir

    name = f"synthetic-{seed}" if source == "synthetic" else Path(source).resolve().name
    return data_dir() / f"demo-{name}"


def _print_times(run: DemoRun) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Time per stage", title_justify="left")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    for name in run.current:
        table.add_row(name, "current")
    for name, seconds in run.seconds.items():
        table.add_row(name, f"{seconds:.1f}")
    table.add_row("total", f"{sum(run.seconds.values()):.1f}", style="bold")
    Console(highlight=False).print(table)
