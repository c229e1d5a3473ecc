"""The table and the JSON rows of `scripts/bench quality`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quality_scores import METRICS, Comparison, Scores, compare
from report import Row
from rich.console import Console
from rich.table import Table

TWO_STAGE, BEST_SINGLE, TRAINING = "two-stage", "best single", "training"


@dataclass(frozen=True)
class Result:
    """What a run found: our lists, our sources by name, peers by case, figures of every training run."""

    title: str
    ours: Scores
    sources: Mapping[str, Scores]
    best_source: str
    peers: Mapping[str, Scores]
    peer_names: Mapping[str, str]
    training: list[Mapping[str, object]]
    notes: list[str]

    @property
    def others(self) -> dict[str, tuple[str, Scores]]:
        """Case -> name, scores of everything that two-stage is compared with."""
        single = {BEST_SINGLE: (self.best_source, self.sources[self.best_source])} if self.sources else {}
        return single | {case: (self.peer_names[case], scores) for case, scores in self.peers.items()}


def rows(result: Result) -> list[Row]:
    """Return the rows of the JSON file; `ours` is two-stage in every case, an interval has rows of its own."""
    ours = result.ours
    found = [Row(TWO_STAGE, metric, "", ours.mean(metric)) for metric in METRICS]
    found.append(Row(TWO_STAGE, "ndcg@10, lowest seed", "", min(ours.seeds)))
    found.append(Row(TWO_STAGE, "ndcg@10, highest seed", "", max(ours.seeds)))
    for case, (name, scores) in result.others.items():
        for metric in METRICS:
            found.append(Row(case, metric, "", ours.mean(metric), scores.mean(metric), name, better="higher"))
        difference = compare(ours, scores)
        found.append(Row(case, "ndcg@10 difference", "", difference.mean, peer_name=name))
        found.append(Row(case, "ndcg@10 difference, low 95%", "", difference.low, peer_name=name))
        found.append(Row(case, "ndcg@10 difference, high 95%", "", difference.high, peer_name=name))
    if result.training:
        found.append(Row(TRAINING, "time", "s", max(_seconds(run) for run in result.training)))
        found.append(Row(TRAINING, "memory", "MB", max(float(run["peak_mb"]) for run in result.training)))
    return found


def show(result: Result, console: Console) -> None:
    """Print the table, the training runs and the notes."""
    table = Table(title=result.title, title_justify="left")
    table.add_column("ranking")
    for metric in METRICS:
        table.add_column(metric, justify="right")
    table.add_column("two-stage minus it, ndcg@10 (95%)", justify="right")
    table.add_column("two-stage is")
    table.add_row(TWO_STAGE, *_cells(result.ours), "", "")
    for case, (name, scores) in result.others.items():
        difference = compare(result.ours, scores)
        label = case if case == name else f"{case}: {name}"
        table.add_row(label, *_cells(scores), _interval(difference), difference.verdict)
    console.print(table)
    for run in result.training:
        stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in run["seconds"].items())
        console.print(f"{run['name']}: {_seconds(run):.0f} s, {run['peak_mb']:,.0f} MB ({stages})")
    for note in result.notes:
        console.print(note)


def show_peers(peers: Mapping[str, Scores], chosen: Mapping[str, str], console: Console) -> None:
    """Print the peers alone: what validation chose for each, and how it does on the test window."""
    table = Table(title="peers: chosen on validation, scored on the test window", title_justify="left")
    table.add_column("peer")
    for metric in METRICS:
        table.add_column(metric, justify="right")
    table.add_column("chosen on validation")
    for name, scores in peers.items():
        table.add_row(name, *_cells(scores), chosen.get(name, ""))
    console.print(table)


def _cells(scores: Scores) -> list[str]:
    return [f"{scores.mean(metric):.4f}" for metric in METRICS]


def _interval(difference: Comparison) -> str:
    return f"{difference.mean:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"


def _seconds(run: Mapping[str, object]) -> float:
    return float(sum(run["seconds"].values()))
