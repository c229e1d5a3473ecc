"""A report on stage one as terminal tables."""

from __future__ import annotations

from rich.table import Table

from candidate_gen.report import DEPTH_NAMES, StageReport
from candidate_gen.stability import DEPTHS, StabilityReport


def report_tables(report: StageReport) -> list[Table]:
    """Return what each source is worth, the union by depth, users by history and the overlap matrix."""
    return [_sources(report), _unions(report), _history(report), _overlap(report)]


def stability_table(report: StabilityReport) -> Table:
    """Return how much of each source's first places survives a refit."""
    kinds = ("seed", "week", "both")
    table = _table(
        f"share of the first places that survives another seed, a week more, both ({report.users:,} users)",
        "source", *(f"{kind} @{depth}" for kind in kinds for depth in DEPTHS),
    )  # fmt: skip
    for name, survival in report.sources.items():
        shares = (getattr(survival, kind)[str(depth)] for kind in kinds for depth in DEPTHS)
        table.add_row(name, *(f"{share:.0%}" for share in shares))
    return table


def _sources(report: StageReport) -> Table:
    window = f"{report.cut:%Y-%m-%d %H:%M:%S} to {report.end:%Y-%m-%d %H:%M:%S} UTC"
    table = _table(
        f"{report.users:,} users, {report.items:,} items, {window}",
        "source", "depth", "ndcg@10", *(f"recall@{name}" for name in DEPTH_NAMES), "only it", "coverage", "new",
        "fit s", "score s", "MB",
    )  # fmt: skip
    for name, source in report.sources.items():
        recalls = (f"{value:.4f}" for value in source.recall.values())
        shares = (f"{value:.1%}" for value in (source.only, source.coverage, source.new))
        costs = (f"{value:.1f}" for value in (source.fit_seconds, source.score_seconds, source.megabytes))
        table.add_row(name, str(source.depth), f"{source.ndcg_10:.4f}", *recalls, *shares, *costs)
    return table


def _unions(report: StageReport) -> Table:
    table = _table("union", "depth of each source", "candidates a user", "recall")
    for name, union in {**report.union_at, "as configured": report.union}.items():
        table.add_row(name, f"{union.candidates:.0f}", f"{union.recall:.4f}")
    return table


def _history(report: StageReport) -> Table:
    table = _table(
        "by events before the cut: recall of the union, recall@100 of each source",
        "events", "users", "candidates", "fewest", "union", *report.sources,
    )  # fmt: skip
    for name, group in report.history.items():
        sizes = (f"{group.users:,}", f"{group.candidates:.0f}", str(group.fewest))
        table.add_row(name, *sizes, f"{group.recall:.4f}", *(f"{value:.4f}" for value in group.recall_100.values()))
    return table


def _overlap(report: StageReport) -> Table:
    table = _table("share of a source's proposals that the others propose too", "", *report.sources)
    for name, source in report.sources.items():
        table.add_row(name, *(f"{value:.0%}" for value in source.overlap.values()))
    return table


def _table(title: str, first: str, *rest: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for name in rest:
        table.add_column(name, justify="right")
    return table
