"""`rankhouse features`: what the feature views lack, computing it, checking it, and writing a new one."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir

if TYPE_CHECKING:
    from feature_repo.building.plan import Plan


class Entity(StrEnum):
    """What a new view may be keyed by."""

    USER = "user"
    ITEM = "item"
    USER_ITEM = "user_item"


app = typer.Typer(help="Plan, compute, check and add feature views.", no_args_is_help=True)

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


@app.command("check")
def check(views: Views = None, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Change the log at and after several times and find every row visible at them as it was: no view looks ahead."""
    from rich.console import Console

    from feature_repo.workspace import Workspace

    workspace = Workspace.open(data_dir, config)
    with Console(stderr=True).status("check") as status:
        from feature_repo.building.leaks import check_moments, find_leaks
        from feature_repo.data_set import DataSet
        from feature_repo.discovery import discover

        moments = check_moments(workspace)
        leaks = []
        for view in views or discover(DataSet.of(workspace)).computed:
            status.update(f"check {view}")
            leaks += find_leaks(workspace, view, moments)
    console = Console()
    for leak in leaks:
        console.print(
            f"[red]{leak.view}[/]: {leak.rows} rows visible at {leak.moment:%Y-%m-%d %H:%M:%S} depend on what happened "
            f"from then on: {', '.join(leak.columns) or 'rows come or go'}"
        )
    if leaks:
        raise typer.Exit(1)
    console.print(f"no view looks ahead at {', '.join(f'{moment:%Y-%m-%d %H:%M:%S}' for moment in moments)}")


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Name of the view, for example item_returns.")],
    entity: Annotated[Entity, typer.Option("--entity", help="What the view is keyed by.")],
) -> None:
    """Write a new view from a template: definition, SQL and a test, which work as they are."""
    from rich.console import Console

    from feature_repo.building.scaffold import ROOT, new_view

    console = Console(soft_wrap=True)
    for path in new_view(name, entity.value):
        console.print(f"wrote {path.relative_to(ROOT)}", highlight=False)
    console.print(f"next: rankhouse features build {name}; rankhouse apply", highlight=False)


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
