"""`rankhouse tune`: search the ranker's parameters on the validation window."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir, JsonFile


def tune(
    trials: Annotated[
        int, typer.Option(min=1, help="How many sets of parameters; the first is the configured one.")
    ] = 30,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Start no trial after so many minutes of search.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the best parameters go, as a part of rankhouse.yaml.")] = Path(
        "tuned.yaml"
    ),
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the trials of before.")] = False,
    json: JsonFile = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Search the ranker's parameters by Optuna's TPE, judged on the validation window; saves no model.

    Candidates and features are read once. A search that was stopped goes on where it was. The test window is not looked
    at. Needs the extra `tune`.
    """
    from rich.console import Console

    from feature_repo.workspace import Workspace
    from ranking.json_file import write_json
    from ranking.progress import shown_progress
    from ranking.tuning import METRIC, fragment, write_fragment
    from ranking.tuning import tune as run

    workspace = Workspace.open(data_dir, config)
    with shown_progress() as progress:
        tuned = run(workspace, trials=trials, minutes=minutes, fresh=fresh, progress=progress)
    write_fragment(tuned, out)
    console = Console(highlight=False)
    first, best = tuned.trials[0], tuned.trials[tuned.best]
    scores = f"Validation {METRIC}: {first.ndcg:.4f} as configured, {best.ndcg:.4f} best."
    console.print(f"Trials: {len(tuned.trials)}, {tuned.before} of them from before. {scores}")
    if tuned.gain is None:
        console.print("Nothing beats what is configured.")
    else:
        gain = tuned.gain
        console.print(
            f"Difference {gain.mean:+.4f} (95% {gain.low:+.4f} to {gain.high:+.4f}): {gain.verdict}. The best of many "
            "trials looks better than it is; a later window tells."
        )
    console.print(fragment(tuned), markup=False, end="")
    console.print(f"Written to {out}: put it into rankhouse.yaml, then `rankhouse train`.")
    write_json(json, tuned)
