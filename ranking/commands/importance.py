"""`rankhouse importance` and `rankhouse explain`: what weighs in a model, and in one recommendation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ranking.commands.options import ConfigFile, DataDir, JsonFile

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from feature_repo.workspace import Workspace

Found = TypeVar("Found")
Model = Annotated[str | None, typer.Option(help="Model to explain.  [default: the current one]")]
Most = Annotated[int, typer.Option("--top", min=1, help="How many columns to print.")]


def importance(
    model: Model = None,
    top: Most = 15,
    rows: Annotated[int, typer.Option(min=1, help="Candidates of the validation cut to explain.")] = 20_000,
    json: JsonFile = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Weigh families of features and single columns: shares of the trees' gain and of the scores' SHAP values."""
    from ranking.explain import importance as weigh_model
    from ranking.json_file import write_json

    console = _console()
    found = _explained(data_dir, config, lambda workspace: weigh_model(workspace, model, rows=rows))
    console.print(f"{found.model}: {found.rows:,} candidates of the validation cut.")
    for title, weights in (("Families", found.families), (f"Columns, the first {top}", found.columns[:top])):
        table = _table(title, "name", "SHAP", "gain")
        for weight in weights:
            table.add_row(weight.name, f"{weight.shap:.1%}", f"{weight.gain:.1%}")
        console.print(table)
    write_json(json, found)


def explain(
    user: Annotated[str, typer.Argument(help="The user's own id.")],
    item: Annotated[str | None, typer.Option(help="The item's own id.  [default: the user's first]")] = None,
    top: Most = 10,
    json: JsonFile = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Say what moved the score of one pair, up or down, with the features that are online now."""
    from ranking.explain_pair import explain_pair
    from ranking.json_file import write_json

    console = _console()
    found = _explained(data_dir, config, lambda workspace: explain_pair(workspace, user, item))
    score = f"score {found.score:.4f}, of which {found.base:.4f} goes to every pair"
    console.print(f"Item {found.item} for user {found.user} by {found.model}: {score}.")
    families = _table("Families", "name", "adds")
    for name, adds in found.families.items():
        families.add_row(name, f"{adds:+.4f}")
    columns = _table(f"Columns, the first {top}", "name", "value", "adds")
    for column in found.columns[:top]:
        columns.add_row(column.name, column.value, f"{column.adds:+.4f}")
    console.print(families)
    console.print(columns)
    write_json(json, found)


def _explained(data_dir: Path | None, config: Path | None, explain_it: Callable[[Workspace], Found]) -> Found:
    """Open the workspace and explain, with a sign of life on the terminal."""
    from feature_repo.workspace import Workspace

    workspace = Workspace.open(data_dir, config)
    with _console(stderr=True).status("explain"):
        return explain_it(workspace)


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def _table(title: str, first: str, *others: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
    return table
