"""`rankhouse compare`: is one model better than another?"""

from __future__ import annotations

from typing import Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir, JsonFile


def compare(
    first: Annotated[str, typer.Argument(help="A model's name, as `rankhouse models list` prints it.")],
    second: Annotated[str, typer.Argument(help="Another model's name.")],
    test: Annotated[bool, typer.Option("--test", help="On the test window: a look at it for each model.")] = False,
    cuts: Annotated[bool, typer.Option("--cuts", help="Fit both configurations again for every split point.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="How often each is fitted with --cuts.")] = 2,
    json: JsonFile = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Compare two models user by user on the validation window, as they were before their refit.

    With --cuts their configurations of the ranker are compared over several windows; those of stage one have to agree.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from feature_repo.workspace import Workspace
    from ranking.compare import compare_on_test, compare_on_validation
    from ranking.compare_cuts import compare_on_cuts
    from ranking.json_file import write_json
    from ranking.progress import shown_progress

    if test and cuts:
        raise typer.BadParameter("Give --test or --cuts, not both.")
    workspace = Workspace.open(data_dir, config)
    if cuts:
        with shown_progress() as progress:
            found = compare_on_cuts(workspace, first, second, seeds=seeds, progress=progress)
    else:
        found = (compare_on_test if test else compare_on_validation)(workspace, first, second)
    console = Console(highlight=False)
    console.print(f"{first} beside {second}: {found.users:,} users, {found.window}.")
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    for name in ("metric", "first", "second", "difference", "95% interval", "the first is"):
        table.add_column(name, no_wrap=True, justify="left" if name in ("metric", "the first is") else "right")
    for one in found.differences:
        cells = f"{found.first[one.metric]:.4f}", f"{found.second[one.metric]:.4f}", f"{one.mean:+.4f}"
        table.add_row(one.metric, *cells, f"{one.low:+.4f} to {one.high:+.4f}", one.verdict)
    console.print(table)
    for cut in found.cuts:
        span = f"[{cut.start[:19]}, {cut.end[:19]}) UTC, {cut.users:,} users"
        console.print(f"{span}: NDCG@10 {cut.first:.4f} and {cut.second:.4f}")
    if found.looks is not None:
        console.print(f"Looks at this test window, these two included: {found.looks}.")
    write_json(json, found)
