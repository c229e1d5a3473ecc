"""The table and the JSON rows of `scripts/bench quality`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quality_runs import Account
from quality_scores import METRICS, Scores, best, compare
from report import Row
from rich.console import Console
from rich.table import Table

from ranking.comparison import Difference

TWO_STAGE, BEST_SINGLE, TRAINING = "two-stage", "best single", "training"
BEST_PER_METRIC = "best single by that metric"


@dataclass(frozen=True)
class Result:
    """What a run found: our lists, our sources by name, peers by case, figures of every training run."""

    title: str
    ours: Scores
    sources: Mapping[str, Scores]
    best_source: str
    peers: Mapping[str, Scores]
    peer_names: Mapping[str, str]
    training: list[Account]
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
    found += [Row(TWO_STAGE, f"ndcg@10, seed {seed}", "", value) for seed, value in enumerate(ours.seeds)]
    for case, (name, scores) in result.others.items():
        for metric in METRICS:
            found.append(Row(case, metric, "", ours.mean(metric), scores.mean(metric), name, better="higher"))
        for metric in METRICS if case == BEST_SINGLE else METRICS[:1]:
            found += _difference_rows(case, compare(ours, scores, metric, name=name))
    for metric in METRICS if result.sources else ():
        name = best(result.sources, metric)
        difference = compare(ours, result.sources[name], metric, name=name)
        found += _difference_rows(BEST_PER_METRIC, difference, result.sources[name].mean(metric))
    return found + training_rows(result.training)


def training_rows(training: list[Account], case: str = TRAINING) -> list[Row]:
    """Return what a whole training run took at most; runs that went on with another's features and fits don't count."""
    whole = [account for account in training if account.whole]
    if not whole:
        return []
    return [
        Row(case, "time", "s", max(account.total for account in whole)),
        Row(case, "memory", "MB", max(account.peak_mb for account in whole)),
        Row(case, "cuts", "", whole[0].cuts),
    ]


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
        difference = compare(result.ours, scores, name=name)
        label = case if case == name else f"{case}: {name}"
        table.add_row(label, *_cells(scores), _interval(difference), difference.verdict)
    console.print(table)
    if result.sources:
        _show_differences(result, console)
    show_training(result.training, console)
    for note in result.notes:
        console.print(note)


def _show_differences(result: Result, console: Console) -> None:
    """Two-stage minus the best single source by every metric: the one best by NDCG, and the one best by that metric."""
    table = Table(title="two-stage minus the best single source, by metric", title_justify="left")
    for name in ("metric", f"minus {result.best_source} (95%)", "two-stage is", "best by this metric"):
        table.add_column(name)
    for name in ("minus it (95%)", "two-stage is"):
        table.add_column(name)
    for metric in METRICS:
        name = best(result.sources, metric)
        fixed = compare(result.ours, result.sources[result.best_source], metric, name=result.best_source)
        own = compare(result.ours, result.sources[name], metric, name=name)
        table.add_row(metric, _interval(fixed), fixed.verdict, name, _interval(own), own.verdict)
    console.print(table)


def show_training(training: list[Account], console: Console) -> None:
    """Print every run; only a whole one's time and memory are a training's."""
    for account in training:
        stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in account.seconds.items())
        if account.whole:
            cost = f"{account.total:.0f} s, {account.peak_mb:,.0f} MB with {account.cuts} cuts"
            console.print(f"{account.name}: {cost} ({stages})")
        else:
            how = "features at the cuts alone" if account.at_cuts else "the features and unseeded fits of before"
            console.print(f"{account.name}, with {how}: {stages}")


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


def _interval(difference: Difference) -> str:
    return f"{difference.mean:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"


def _difference_rows(case: str, difference: Difference, peer: float | None = None) -> list[Row]:
    """`peer`: the other ranking's own figure."""
    metric, name = difference.metric, difference.against
    rows = [] if peer is None else [Row(case, metric, "", difference.mean + peer, peer, name, better="higher")]
    rows.append(Row(case, f"{metric} difference", "", difference.mean, peer_name=name))
    rows.append(Row(case, f"{metric} difference, low 95%", "", difference.low, peer_name=name))
    rows.append(Row(case, f"{metric} difference, high 95%", "", difference.high, peer_name=name))
    return rows
