"""`rankhouse recommend USER`: one user's list from the online store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir

if TYPE_CHECKING:
    from ranking.recommend import Answer


def recommend(
    user: Annotated[str, typer.Argument(help="The user's own id.")],
    k: Annotated[int, typer.Option("-k", help="How many items.")] = 10,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Read candidates and features of a user from the online store, score them, print the best."""
    from feature_repo.workspace import Workspace
    from ranking.recommend import recommend as answer_request

    print_answer(answer_request(Workspace.open(data_dir, config), user, k))


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
