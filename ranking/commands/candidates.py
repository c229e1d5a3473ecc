"""`rankhouse candidates`: write the entity table; `rankhouse candidates report`: what each source is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir

if TYPE_CHECKING:
    from candidate_gen.entity_table import CutReport
    from candidate_gen.pipeline import Progress
    from feature_repo.workspace import Workspace

app = typer.Typer(help="Write the entity table: stage one's candidates at each cut.", invoke_without_command=True)


class WhichUsers(StrEnum):
    """Whose candidates are written."""

    active = "active"
    all = "all"


@app.callback()
def candidates(
    context: typer.Context,
    as_of: Annotated[
        list[str] | None,
        typer.Option(
            help="A cut: a time, `train`, `validation`, `test` or `now`; may be given again.  "
            "[default: all cuts of the split]",
            show_default=False,
        ),
    ] = None,
    users: Annotated[
        WhichUsers | None,
        typer.Option(
            help="`active`: an event before the cut and a label after it; `all`: everyone known at the cut.  "
            "[default: all at now, else active]",
            show_default=False,
        ),
    ] = None,
    allow_repeats: Annotated[
        bool | None, typer.Option("--allow-repeats/--no-repeats", help="Propose what the user has consumed before?")
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Fit every configured source on the events before each cut and write the scored union of their proposals."""
    if context.invoked_subcommand is not None:
        return
    from candidate_gen.entity_table import write_candidates
    from feature_repo.workspace import Workspace

    workspace = Workspace.open(data_dir, config)
    reports = []
    with _progress() as progress:
        for cut in _cuts(workspace, as_of or ["train", "validation", "test"]):
            which = users.value if users else ("all" if cut >= workspace.now else "active")
            reports += write_candidates(workspace, [cut], which, allow_repeats=allow_repeats, progress=progress)
    _print(reports)


@app.command("report")
def report(
    cut: Annotated[str, typer.Option(help="A time, `validation` or `test`.")] = "validation",
    stability: Annotated[
        bool, typer.Option("--stability", help="Refit with another seed and with a week more, and compare.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report as JSON, too.")] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Judge stage one at a cut on what users took after it; writes nothing else."""
    import json

    from rich.console import Console

    from candidate_gen.report import report_candidates
    from candidate_gen.stability import report_stability
    from feature_repo.workspace import Workspace
    from ranking.commands.candidate_tables import report_tables, stability_table

    workspace = Workspace.open(data_dir, config)
    moment = _cuts(workspace, [cut])[-1]
    with _progress() as progress:
        result = report_candidates(workspace, moment, progress=progress)
        refits = report_stability(workspace, moment, progress=progress) if stability else None
    tables, values = report_tables(result), result.as_dict()
    if refits is not None:
        tables.append(stability_table(refits))
        values["stability"] = refits.as_dict()
    Console().print(*tables, *_notes(result.skipped), sep="\n")
    if json_file is not None:
        json_file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _cuts(workspace: Workspace, names: list[str]) -> list[datetime]:
    """Return the times that the words or ISO times name, ascending; raises DataError for another word."""
    return sorted({moment for name in names for moment in _named(workspace, name)})


def _named(workspace: Workspace, name: str) -> list[datetime]:
    from feature_repo.errors import DataError, did_you_mean

    match name:
        case "now":
            return [workspace.now]
        case "train":
            return [window.start for window in workspace.periods.train]
        case "validation":
            return [workspace.periods.validation.start]
        case "test":
            return [workspace.periods.test.start]
    try:
        moment = datetime.fromisoformat(name)
    except ValueError:
        known = ("now", "train", "validation", "test")
        raise DataError(
            "the cut", expected=f"a time like 2000-12-27T17:40:55 (UTC) or one of {', '.join(known)}", got=repr(name),
            fix=f"Give another cut.{did_you_mean(name, known)}",
        ) from None  # fmt: skip
    return [moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)]


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show one bar per step on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("candidates")
        yield lambda what, done, total: bars.update(task, description=what, completed=done, total=total)


def _print(reports: list[CutReport]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="candidates", title_justify="left")
    table.add_column("cut (UTC)")
    for name in ("users", "pairs", "a user", "fit s", "total s"):
        table.add_column(name, justify="right")
    for cut in reports:
        table.add_row(
            f"{cut.cut:%Y-%m-%d %H:%M:%S}", f"{cut.users:,}", f"{cut.rows:,}", f"{cut.rows / max(cut.users, 1):.0f}",
            f"{cut.fitting:.1f}", f"{cut.seconds:.1f}",
        )  # fmt: skip
    Console().print(table, *_notes({name: why for cut in reports for name, why in cut.skipped.items()}), sep="\n")


def _notes(skipped: dict[str, str]) -> list[str]:
    return [f"[yellow]Without {name}:[/] {why}" for name, why in skipped.items()]
