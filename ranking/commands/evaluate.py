"""`rankhouse evaluate`: every generator, the union and two-stage on the test window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ranking.commands.options import ConfigFile, DataDir, JsonFile

if TYPE_CHECKING:
    import pyarrow as pa

    from feature_repo.workspace import Workspace


def evaluate(
    model: Annotated[str | None, typer.Option(help="Model to evaluate.  [default: the current one]")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Length of the lists.")] = 10,
    by: Annotated[
        list[str] | None, typer.Option(help="User attribute to tell users apart by; may be given more than once.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            help="Write the lists as Parquet: user_id, item_id, rank, score. ranking/README.md: how to judge."
        ),
    ] = None,
    export_all: Annotated[
        Path | None,
        typer.Option(help="Write all that was judged to this folder: the truth, every source, union and two-stage."),
    ] = None,
    serving: Annotated[
        bool, typer.Option("--serving", help="Also: what every rule costs and every order changes, each alone.")
    ] = False,
    json: JsonFile = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Score the candidates of the test cut and judge every ranking by what users consumed after it.

    Every run is a look at the test window, noted in <data dir>/quality_looks.jsonl: choose on validation instead.
    """
    from rich.console import Console

    from feature_repo.workspace import Workspace
    from ranking import looks
    from ranking.evaluate import evaluate as evaluate_model
    from ranking.evaluate import unseen
    from ranking.evaluation import TWO_STAGE, report_path, write_report
    from ranking.export import write_judged, write_lists
    from ranking.json_file import write_json
    from ranking.progress import shown_progress
    from ranking.protocol import protocol_of, with_protocol
    from ranking.report import render

    workspace = Workspace.open(data_dir, config)
    judged: dict[str, pa.Table] = {}
    keep = unseen if export_all is None else judged.__setitem__
    with shown_progress() as progress:
        report, lists = evaluate_model(workspace, model=model, k=k, by=by or (), shown=keep, progress=progress)
    write_report(report, report_path(workspace))
    write_json(json, report)
    ndcg = report.line(TWO_STAGE).metrics[f"ndcg@{k}"]
    count = looks.look_at_test(workspace, model=report.model, ndcg=ndcg, purpose="evaluate")
    console = Console(highlight=False)
    console.print(render(report))
    console.print(looks.sentence(count))
    if export is not None:
        write_lists(with_protocol(lists, protocol_of(workspace, report)), export)
        console.print(f"{lists.num_rows:,} recommendations in {export}")
    if export_all is not None:
        write_judged(judged, protocol_of(workspace, report), export_all)
        console.print(f"{len(judged)} files in {export_all}: the truth and what every ranking shows its users")
    if serving:
        show_serving(workspace, report.model, k)


def show_serving(workspace: Workspace, model: str, k: int) -> None:
    """Measure and print what serving does to the lists; keep it beside the report."""
    from rich.console import Console

    from ranking import serving_report
    from ranking.json_file import write_json
    from ranking.progress import shown_progress

    with shown_progress() as progress:
        report = serving_report.measure_serving(workspace, model=model, k=k, progress=progress)
    write_json(serving_report.report_path(workspace), report)
    Console(highlight=False).print(serving_report.render(report))
