"""`rankhouse skew`: does the offline store say the same as what was served?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir, JsonFile

if TYPE_CHECKING:
    from ranking.skew import SkewReport


def skew(
    since: Annotated[
        datetime | None, typer.Option(help="First time that counts, UTC.  [default: the first]", show_default=False)
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(help="Last time that counts, UTC.  [default: the last]", show_default=False)
    ] = None,
    service: Annotated[
        str | None, typer.Option(help="Feature service.  [default: the configured one]", show_default=False)
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many columns to print.")] = 15,
    json: JsonFile = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Compare the served log with the offline store as of the same times; status 1 where any value differs.

    The log has the requests that `serving.log_share` draws. Stop the server, or wait a minute, before you compare.
    """
    from datetime import UTC

    from rich.console import Console

    from feature_repo.workspace import Workspace
    from ranking.json_file import write_json
    from ranking.skew import BEGINNING, END, measure_skew

    workspace = Workspace.open(data_dir, config)
    start, end = (time and time.replace(tzinfo=time.tzinfo or UTC) for time in (since, until))
    with Console(stderr=True).status("skew"):
        report = measure_skew(workspace, since=start or BEGINNING, until=end or END, service=service)
    write_json(json, report)
    show(report, top)
    if report.faults:
        raise typer.Exit(1)


def show(report: SkewReport, top: int) -> None:
    """Print a report: the columns with the most faults first."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    console.print(
        f"{report.service}: {report.requests:,} requests with {report.rows:,} candidates, "
        f"{report.first[:19]} to {report.last[:19]} UTC."
    )
    table = Table(title=f"The first {top} columns", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    for name in ("column", "compared", "mismatches", "missing", "extra"):
        table.add_column(name, no_wrap=True, justify="left" if name == "column" else "right")
    for column in report.columns[:top]:
        counts = (column.compared, column.mismatches, column.missing, column.extra)
        table.add_row(escape(column.column), *(f"{count:,}" for count in counts))
    console.print(table)
    for column in [one for one in report.columns if one.example][:top]:
        console.print(f"{column.column}: {column.example}", markup=False, soft_wrap=True)
    for model, reason in report.unchecked.items():
        console.print(f"The scores of {model} were not compared: {reason}", markup=False, soft_wrap=True)
    compared = sum(column.compared for column in report.columns)
    console.print(f"{report.faults:,} of {compared:,} values differ, in {len(report.columns)} columns.")
