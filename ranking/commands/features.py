"""`rankhouse features`: what the feature views lack, and computing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir

if TYPE_CHECKING:
    from feature_repo.building.plan import Plan

app = typer.Typer(help="Plan and compute the feature views.", no_args_is_help=True)

Views = Annotated[list[str] | None, typer.Argument(help="Views to look at.  [default: all]", show_default=False)]


@app.command("plan")
def plan(views: Views = None, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Print what a build would compute, and why. Changes nothing."""
    from rich.console import Console

    from feature_repo.workspace import Workspace

    workspace = Workspace.open(data_dir, config)
    with Console(stderr=True).status("plan"):
        from feature_repo.building.run import plan_features

        plans = plan_features(workspace, views or [])
    _print(plans)


@app.command("build")
def build(views: Views = None, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Compute the views: everything the first time, then only snapshots that are new or whose past changed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from feature_repo.workspace import Workspace

    workspace = Workspace.open(data_dir, config)
    columns = TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("plan", total=None)
        from feature_repo.building.run import build_features

        def show(view: str, done: int, total: int) -> None:
            bar.update(task, description=view, completed=done, total=total)

        plans = build_features(workspace, views or [], progress=show)
    _print(plans)


def _print(plans: list[Plan]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("view", "reason", "snapshots", "from", "to")
    for entry in plans:
        times = [] if not len(entry.affected) else [entry.affected[0], entry.affected[-1]]
        whole = "all rows" if entry.whole and not times else str(len(entry.affected))
        table.add_row(entry.view, entry.reason, whole, *(_text(time) for time in times))
    Console().print(table)


def _text(microseconds: int) -> str:
    from feature_repo.building.snapshots import from_us

    return f"{from_us(microseconds):%Y-%m-%d}"
