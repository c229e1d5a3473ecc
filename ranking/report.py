"""An evaluation as tables in the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ranking.evaluate import TWO_STAGE, Difference, Evaluation

_SHOWN = {"ndcg": "NDCG", "map": "MAP", "recall": "Recall", "mrr": "MRR", "hitrate": "HitRate", "coverage": "Coverage"}


def render(report: Evaluation) -> RenderableType:
    """Return the quality table, the ceilings of stage one, and the comparison in one sentence."""
    heading = (
        f"Test window {report.test_start[:19]} to {report.test_end[:19]} UTC: {report.users:,} users, "
        f"{report.pairs:,} relevant pairs."
    )
    return Group(Text(heading), _quality(report), _ceilings(report), Text(sentence(report.difference)))


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


def _quality(report: Evaluation) -> Table:
    """Means over the judged users, the best of each column in bold. Precision is in the JSON only."""
    table = _table(f"Quality of the first {report.k}")
    keys = [f"{name}@{report.k}" for name in _SHOWN]
    for name in _SHOWN.values():
        table.add_column(name, justify="right")
    best = {key: max(line.metrics[key] for line in report.lines) for key in keys}
    for line in report.lines:
        cells = (f"[bold]{line.metrics[key]:.4f}[/]" if line.metrics[key] == best[key] else f"{line.metrics[key]:.4f}"
                 for key in keys)  # fmt: skip
        table.add_row(line.name, *cells, end_section=line.name == report.lines[-2].name)
    return table


def _ceilings(report: Evaluation) -> Table:
    table = _table("Recall by depth")
    for depth in report.lines[0].recalls:
        table.add_column(f"@{depth}", justify="right")
    for line in report.lines:
        if line.name != TWO_STAGE:
            table.add_row(line.name, *(f"{value:.4f}" for value in line.recalls.values()))
    return table


def _table(title: str) -> Table:
    """A table narrow enough for 80 columns."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("ranking", no_wrap=True)
    return table
