"""An evaluation as tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ranking.evaluate import TWO_STAGE, Difference, Evaluation, Line

_NAMES = {
    "ndcg": "NDCG",
    "map": "MAP",
    "recall": "Recall",
    "precision": "Precision",
    "mrr": "MRR",
    "hitrate": "HitRate",
    "coverage": "Coverage",
}


def render(report: Evaluation) -> RenderableType:
    """Return the quality table, the ceilings of stage one, and the comparison in one sentence."""
    title = (
        f"Test window {report.test_start[:19]} to {report.test_end[:19]} UTC: {report.users:,} users, "
        f"{report.pairs:,} relevant pairs"
    )
    return Group(_quality(report, title), _ceilings(report), Text(sentence(report.difference)))


def sentence(difference: Difference) -> str:
    """Say what the interval allows to say.

    >>> sentence(Difference("als", "ndcg@10", 0.02, 0.01, 0.03))
    'two-stage is better than als: ndcg@10 +0.0200, 95% interval [+0.0100, +0.0300]'
    """
    verdict = "is not different from"
    if difference.low > 0:
        verdict = "is better than"
    elif difference.high < 0:
        verdict = "is worse than"
    size = f"{difference.metric} {difference.mean:+.4f}"
    interval = f"95% interval [{difference.low:+.4f}, {difference.high:+.4f}]"
    return f"{TWO_STAGE} {verdict} {difference.against}: {size}, {interval}"


def _quality(report: Evaluation, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("ranking")
    for key in report.lines[0].metrics:
        name, _, k = key.partition("@")
        table.add_column(f"{_NAMES[name]}@{k}", justify="right")
    best = {key: max(line.metrics[key] for line in report.lines) for key in report.lines[0].metrics}
    for line in report.lines:
        table.add_row(line.name, *_cells(line.metrics, best), end_section=line.name == report.lines[-2].name)
    return table


def _ceilings(report: Evaluation) -> Table:
    table = Table(title="Recall by depth", title_justify="left")
    table.add_column("ranking")
    for depth in report.lines[0].recalls:
        table.add_column(f"@{depth}", justify="right")
    for line in _first_stage(report):
        table.add_row(line.name, *(f"{value:.4f}" for value in line.recalls.values()))
    return table


def _first_stage(report: Evaluation) -> Iterator[Line]:
    return (line for line in report.lines if line.name != TWO_STAGE)


def _cells(values: dict[str, float], best: dict[str, float]) -> Iterator[str]:
    for key, value in values.items():
        yield f"[bold]{value:.4f}[/]" if value == best[key] else f"{value:.4f}"
