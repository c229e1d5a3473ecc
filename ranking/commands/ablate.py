"""`rankhouse ablate`: what each part of the chain is worth, on the validation window."""

from __future__ import annotations

from typing import Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir, JsonFile


def ablate(
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="families, sources, cuts, depth, objectives, negatives, horizon, split or refit; more than once for "
            "more.  [default: all]"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How often every case is fitted.")] = 3,
    json: JsonFile = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Train without each family of features, source or cut, shallower, by other objectives; saves no model.

    Also with other negatives, label horizons and split points, and ranking what a first stage one cut old proposes.
    Cases are compared with everything by paired bootstrap over the users of the validation window; other split points
    have windows of their own and are compared with their best single source. The test window is not looked at.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from feature_repo.workspace import Workspace
    from ranking.ablation import KINDS, METRIC, WHOLE, kind_of
    from ranking.ablation import ablate as run
    from ranking.json_file import write_json
    from ranking.progress import shown_progress

    kinds = [kind_of(name) for name in only] if only else KINDS
    workspace = Workspace.open(data_dir, config)
    with shown_progress() as progress:
        report = run(workspace, kinds, seeds=seeds, progress=progress)
    console = Console(highlight=False)
    start, end = (time[:19] for time in report.window)
    console.print(f"Validation window {start} to {end} UTC: {report.users:,} users, {report.seeds} seeds.")
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    for name in ("case", METRIC, "users", "difference (95%)", "is"):
        table.add_column(name, justify="left" if name in ("case", "is") else "right")
    for place, case in enumerate(report.cases):
        found = case.difference
        span = "" if found is None else f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
        last = place + 1 == len(report.cases) or report.cases[place + 1].kind != case.kind
        verdict = "" if found is None else found.verdict
        if found is not None and found.against != WHOLE:
            verdict += f" {'from' if verdict == 'not different' else 'than'} {found.against}"
        table.add_row(case.name, f"{case.mean:.4f}", f"{case.users:,}", span, verdict, end_section=last)
    console.print(table)
    write_json(json, report)
