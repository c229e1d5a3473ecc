"""`rankhouse load`: bring a data set into the lake."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir

if TYPE_CHECKING:
    from feature_repo.loading import LoadReport

_SYNTHETIC = "Synthetic world"


def load(
    source: Annotated[
        str,
        typer.Argument(
            help="A MovieLens directory (ml-100k, ml-1m, latest), a mapping file or a directory with a mapping.yaml, "
            "or the word `synthetic`."
        ),
    ],
    mapping: Annotated[
        Path | None, typer.Option(help="Mapping file for the CSV, Parquet or JSON files in the directory SOURCE.")
    ] = None,
    min_rating: Annotated[
        float, typer.Option(min=0, max=10, help="MovieLens: the lowest rating that is a label.")
    ] = 4.0,
    users: Annotated[int, typer.Option(help="Number of users.", rich_help_panel=_SYNTHETIC)] = 1500,
    items: Annotated[int, typer.Option(help="Number of items.", rich_help_panel=_SYNTHETIC)] = 800,
    days: Annotated[int, typer.Option(help="Length of the log.", rich_help_panel=_SYNTHETIC)] = 120,
    seed: Annotated[int, typer.Option(help="Which world.", rich_help_panel=_SYNTHETIC)] = 7,
    until_day: Annotated[
        int | None,
        typer.Option(help="Load only so many days of it; load more of them later.", rich_help_panel=_SYNTHETIC),
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Load events, users and items; what the lake already has is not added again."""
    from rich.console import Console

    from feature_repo.loading import LoadOptions, World, load_source
    from feature_repo.workspace import Workspace

    workspace = Workspace.open(data_dir, config)
    errors = Console(stderr=True)
    world = World(users=users, items=items, days=days, seed=seed, until_day=until_day)
    with errors.status("load") as status:
        options = LoadOptions(
            mapping=mapping, min_rating=min_rating, world=world, config=workspace.config, on_step=status.update
        )
        report = load_source(source, workspace.lake, options)
    _print(report)


def _print(report: LoadReport) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{report.name}: {report.first:%Y-%m-%d} to {report.last:%Y-%m-%d}", title_justify="left")
    table.add_column("table")
    table.add_column("rows added", justify="right")
    table.add_column("", style="dim")
    notes = {
        "events": ", ".join(f"{name} {count:,}" for name, count in report.event_types.items()),
        "users": f"{report.user_id_type} ids",
        "items": f"{report.item_id_type} ids",
    }
    for name, count in report.added.items():
        table.add_row(name, f"{count:,}", notes[name])
    console = Console()
    console.print(table)
    if report.duplicates or not any(report.added.values()):
        console.print(f"Already in the lake: {report.duplicates:,} events." if report.duplicates else "Nothing new.")
