"""`rankhouse drift`: has the serving set left the training set?"""

from __future__ import annotations

from typing import Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir, JsonFile


def drift(
    model: Annotated[str | None, typer.Option(help="Model whose training set counts.  [default: the current]")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Candidates to sample.")] = 20_000,
    top: Annotated[int, typer.Option(min=1, help="How many columns to print.")] = 15,
    json: JsonFile = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Compare the newest candidates with those of the last cut learned from; status 1 where one exceeds a threshold.

    At both cuts all candidates count of users who had acted lately. Columns that `drift.ignore` names are left out.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from feature_repo.workspace import Workspace
    from ranking.drift import measure_drift
    from ranking.json_file import write_json

    workspace = Workspace.open(data_dir, config)
    with Console(stderr=True).status("drift"):
        report = measure_drift(workspace, model=model, rows=rows)
    console = Console(highlight=False)
    lately = f", of users who acted in the {report.days:.0f} days before" if report.days else ""
    console.print(
        f"{report.model}: {report.rows:,} candidates of {report.cut[:19]} UTC beside those of "
        f"{report.reference_cut[:19]} UTC{lately}; {len(report.ignored)} columns ignored."
    )
    table = Table(title=f"The first {top}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    for name in ("column", "PSI", "KS", "null then", "null now", ""):
        table.add_column(name, no_wrap=True, justify="left" if name in ("column", "") else "right")
    for shift in report.shifts[:top]:
        measures = f"{shift.psi:.3f}", f"{shift.ks:.3f}", f"{shift.null_then:.1%}", f"{shift.null_now:.1%}"
        table.add_row(shift.name, *measures, "drifted" if shift.psi > report.psi or shift.ks > report.ks else "")
    console.print(table)
    limits = f"PSI above {report.psi:.2f} or KS above {report.ks:.2f}"
    then, now = report.users
    console.print(f"{report.drifted} of {len(report.shifts)} columns drifted: {limits} ({then:,} and {now:,} users).")
    if report.days:
        before, lately = report.pace
        console.print(f"Events a day, which counts of past days follow: {before:,.1f} then, {lately:,.1f} now.")
    write_json(json, report)
    if report.drifted:
        raise typer.Exit(1)
