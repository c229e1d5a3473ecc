"""An evaluation as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ranking.comparison import Difference
from ranking.evaluation import TWO_STAGE, Evaluation, Line, Part

_QUALITY: Final = {
    "ndcg@{k}": "NDCG", "map@{k}": "MAP", "recall@{k}": "Recall", "mrr@{k}": "MRR", "hitrate@{k}": "HitRate",
    "precision@1": "P@1",
}  # fmt: skip
_DEPTHS: Final = {
    "ndcg@5": "NDCG@5", "ndcg@20": "NDCG@20", "ndcg@50": "NDCG@50", "captured@{k}": "of the ceiling",
}  # fmt: skip
_LISTS: Final = {
    "coverage@{k}": "Coverage", "novelty@{k}": "Novelty", "diversity@{k}": "Diversity", "popularity@{k}": "Popularity",
}  # fmt: skip


def _utc(time: str) -> str:
    """Return a time with all of its digits: whoever scores the lists elsewhere cuts the log at the very same moment."""
    return time.removesuffix("+00:00")


def render(report: Evaluation) -> RenderableType:
    """Return the quality tables, the ceilings of stage one, the parts, and the comparison in one sentence."""
    heading = (
        f"Test window {_utc(report.test_start)} to {_utc(report.test_end)} UTC: {report.users:,} users, "
        f"{report.pairs:,} relevant pairs."
    )
    others = {line.name: line.difference for line in report.lines if line.difference is not None}
    return Group(
        Text(heading),
        _metrics(report, f"Quality of the first {report.k}", _QUALITY),
        _metrics(report, "By depth, and recall as a share of what stage one proposes", _DEPTHS),
        _metrics(report, f"What the first {report.k} are like", _LISTS, best=False),
        _ceilings(report),
        _differences(f"Two-stage minus every other, {report.difference.metric}", others),
        _differences(f"Two-stage minus {report.difference.against}", {one.metric: one for one in report.differences}),
        _parts(report),
        Text(sentence(report.difference)),
    )


def sentence(difference: Difference) -> str:
    """Say what the interval allows to say.

    >>> sentence(Difference("als", "ndcg@10", 0.02, 0.01, 0.03))
    'two-stage is better than als: ndcg@10 +0.0200, 95% interval [+0.0100, +0.0300]'
    """
    link = "from" if difference.verdict == "not different" else "than"
    size = f"{difference.metric} {difference.mean:+.4f}"
    interval = f"95% interval [{difference.low:+.4f}, {difference.high:+.4f}]"
    return f"{TWO_STAGE} is {difference.verdict} {link} {difference.against}: {size}, {interval}"


def _metrics(report: Evaluation, title: str, columns: Mapping[str, str], *, best: bool = True) -> Table:
    """Means over the judged users; where more is better, the best of each column in bold."""
    table = _table(title)
    keys = [key.format(k=report.k) for key in columns]
    for name in columns.values():
        table.add_column(name, justify="right")
    bests = {key: max(line.metrics[key] or 0.0 for line in report.lines) for key in keys} if best else {}
    for line in report.lines:
        cells = (_cell(line, key, bests.get(key)) for key in keys)
        table.add_row(line.name, *cells, end_section=line.name == report.lines[-2].name)
    return table


def _cell(line: Line, key: str, best: float | None) -> str:
    value = line.metrics[key]
    if value is None:
        return "–"
    text = f"{value:.4f}" if value < 100 else f"{value:,.0f}"
    return f"[bold]{text}[/]" if value == best else text


def _ceilings(report: Evaluation) -> Table:
    table = _table("Recall by depth")
    for depth in report.lines[0].recalls:
        table.add_column(f"@{depth}", justify="right")
    for line in report.lines:
        if line.name != TWO_STAGE:
            table.add_row(line.name, *(f"{value:.4f}" for value in line.recalls.values()))
    return table


def _differences(title: str, found: Mapping[str, Difference]) -> Table:
    """Two-stage minus another ranking, one line per name."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    for name in ("", "mean", "95% interval", "two-stage is"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("mean", "95% interval") else "left")
    for name, one in found.items():
        table.add_row(name, f"{one.mean:+.4f}", f"{one.low:+.4f} to {one.high:+.4f}", one.verdict)
    return table


def _parts(report: Evaluation) -> Table:
    metric, against = report.difference.metric, report.difference.against
    table = Table(title=f"{metric} by part, beside {against}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    for name in ("by", "", "users", TWO_STAGE, "source", "difference (95%)", "is"):
        table.add_column(name, no_wrap=name != "", justify="left" if name in ("by", "", "is") else "right")
    for before, part in zip([None, *report.parts], report.parts, strict=False):
        if before is not None and before.by != part.by:
            table.add_section()
        table.add_row(part.by, part.name, f"{part.users:,}", *_compared(part, metric))
    return table


def _compared(part: Part, metric: str) -> tuple[str, ...]:
    found = part.difference
    span = f"{found.low:+.3f} to {found.high:+.3f}"
    verdict = "" if found.verdict == "not different" else found.verdict
    return f"{part.two_stage[metric]:.4f}", f"{part.source[metric]:.4f}", span, verdict


def _table(title: str) -> Table:
    """A table narrow enough for 80 columns."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("ranking", no_wrap=True)
    return table
