"""`rankhouse recommend`: one user's list from the online store, or everyone's as Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace
    from ranking.recommend import Answer


def recommend(
    user: Annotated[str | None, typer.Argument(help="The user's own id.", show_default=False)] = None,
    k: Annotated[int, typer.Option("-k", help="How many items.")] = 10,
    everyone: Annotated[bool, typer.Option("--all", help="For every user of the log, into --out.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Parquet file: user_id, item_id, rank, score.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Read candidates and features of a user, or of all, from the online store, score them, give the best."""
    from feature_repo.workspace import Workspace

    if everyone != (user is None) or everyone != (out is not None):
        raise typer.BadParameter("Name a user, or give --all with --out FILE.")
    workspace = Workspace.open(data_dir, config)
    if out is None:
        from ranking.recommend import recommend as answer_request

        print_answer(answer_request(workspace, user, k))
    else:
        write_all(workspace, out, k)


def write_all(workspace: Workspace, out: Path, k: int) -> None:
    """Write everyone's list, and say how many."""
    from rich.console import Console

    from ranking.progress import shown_progress
    from ranking.recommend import recommend_all

    with shown_progress() as progress:
        written = recommend_all(workspace, out, k, progress=progress)
    Console(highlight=False).print(
        f"{written.rows:,} recommendations for {written.users:,} users in {out}", markup=False, soft_wrap=True
    )


def print_answer(answer: Answer) -> None:
    """Print an answer as a table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not answer.known:
        console.print(f"User {escape(str(answer.user))} is unknown to the online store: these items are popular now.")
    table = Table(title=f"Top {len(answer.items)} for user {escape(str(answer.user))}", title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("item")
    table.add_column("title")
    table.add_column("score", justify="right")
    for item in answer.items:
        table.add_row(str(item.rank), escape(str(item.item)), escape(item.title), f"{item.score:.4f}")
    console.print(table)
