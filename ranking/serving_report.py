"""What the rules and orders of serving cost and change: lists of the test window with each of them alone.

Candidates, features and scores are those of `rankhouse evaluate`; rules and orders are the classes that serve, on what
the offline store knew at the cut. Every kind of rule is measured with parameters taken from the data, the configured
ones as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from candidate_gen import entity_table
from candidate_gen.pipeline import Progress, silent
from feature_repo.columns import ITEM, RANK, TIME, USER
from ranking import model_store
from ranking.comparison import Difference, difference
from ranking.evaluation import Line
from ranking.hits import hits_of
from ranking.judging import Split, line, read_split, score_hits, score_lists
from ranking.scoring import batches, score_offline
from ranking.service import service_columns
from ranking.serving.features import FeatureReader
from ranking.serving.ordering import ORDERS, Order
from ranking.serving.parts import make
from ranking.serving.path import arranged, filtered
from ranking.serving.pool import Pool
from ranking.serving.request import Ask
from ranking.serving.rules import Rule, make_rules
from ranking.serving_cases import Case, cases
from ranking.train import of_users
from ranking.training_set import user_groups, with_cut
from ranking.truth import Truth, read_judged

if TYPE_CHECKING:
    from rich.console import RenderableType

    from feature_repo.workspace import Workspace

MODEL_ALONE: Final = "model alone"
ROWS_AT_ONCE: Final = 100_000


@dataclass(frozen=True)
class Effect:
    """One rule or order: what it says, the share of the candidates that it removes, the lists' metrics with it.

    `difference`: with it minus the model alone, in the metric that lists are judged by. `skipped`: why it was not
    measured; then the rest is empty.
    """

    kind: str
    name: str
    removed: float = 0.0
    line: Line | None = None
    difference: Difference | None = None
    skipped: str = ""


@dataclass(frozen=True)
class ServingReport:
    """Times are ISO 8601 in UTC; `alone`: the model's own order of all candidates, which all are compared with."""

    model: str
    test_start: str
    k: int
    users: int
    candidates: int
    alone: Line
    effects: list[Effect]


@dataclass(frozen=True)
class Known:
    """Scored candidates of the judged users at the cut, sorted by user, then item, and how to read more about them."""

    workspace: Workspace
    rows: pa.Table
    scores: np.ndarray
    references: Mapping[str, str]

    def parts(self, columns: Sequence[str]) -> Iterator[tuple[slice, Table]]:
        """Yield whole users' rows with feature columns as of the cut."""
        for start, stop in batches(user_groups(self.rows), ROWS_AT_ONCE):
            chosen = self.rows.slice(start, stop - start)
            yield slice(start, stop), Table(self._read(chosen, columns) if columns else chosen)

    def _read(self, rows: pa.Table, columns: Sequence[str]) -> pa.Table:
        from feature_repo.on_demand.columns import REQUEST_TIME
        from feature_repo.store import open_store, quiet

        store = open_store(self.workspace)
        frame = rows.append_column(REQUEST_TIME, rows[TIME])
        with quiet():
            job = store.get_historical_features(entity_df=frame, features=[self.references[name] for name in columns])
            return job.to_arrow()


@dataclass(frozen=True)
class Table:
    """Rows of candidates; what a Pool reads of an answer."""

    table: pa.Table
    start: int = 0
    rows: int | None = None

    def array(self, name: str) -> pa.Array:
        column = self.table[name]
        whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        return whole.slice(self.start, self.rows)


def measure_serving(
    workspace: Workspace, *, model: str | None = None, k: int = 10, progress: Progress = silent
) -> ServingReport:
    """Measure every rule and order on the test window, each alone."""
    manifest = model_store.read_manifest(workspace, model)
    loaded = model_store.load(workspace, service_columns(workspace, manifest.service), manifest.name)
    test = workspace.periods.test
    with workspace.connect() as connection:
        truth = read_judged(connection, test, allow_repeats=workspace.config.allow_repeats)
        split = read_split(workspace, connection, truth)
    rows = of_users(entity_table.read(workspace, test.start, [USER, ITEM]), truth.users)
    rows = with_cut(rows.sort_by([(USER, "ascending"), (ITEM, "ascending")]).select([USER, ITEM]), test.start)
    rows = rows.combine_chunks()
    known = Known(
        workspace, rows, score_offline(workspace, loaded, rows, progress=progress),
        FeatureReader.open(workspace).references,
    )  # fmt: skip
    judged = _Judge(truth, split, k, workspace.config.ranker.seed)
    [(alone, _)] = _lists(known, [_Made.of(Case("order", MODEL_ALONE))], k)
    progress("serving", 0, 1)
    effects = _effects(known, cases(workspace, known.references, split.catalogue), judged, alone)
    progress("serving", 1, 1)
    own = judged.line(MODEL_ALONE, alone)
    return ServingReport(manifest.name, test.start.isoformat(), k, len(truth.users), rows.num_rows, own, effects)


@dataclass(frozen=True)
class _Judge:
    """The truth that lists are held against."""

    truth: Truth
    split: Split
    k: int
    seed: int

    def line(self, name: str, lists: pa.Table) -> Line:
        """Return the metrics that a list of k items has."""
        ranking = hits_of(lists, self.truth, self.split.catalogue, self.k)
        found = line(name, ranking, score_hits(ranking, self.truth, self.k), self.truth, self.split, self.k)
        kept = {key: value for key, value in found.metrics.items() if int(key.rpartition("@")[2]) <= self.k}
        return replace(found, metrics=kept, recalls={})

    def minus(self, lists: pa.Table, alone: pa.Table) -> Difference:
        ours, theirs = (score_lists(one, self.truth, self.k) for one in (lists, alone))
        return difference(ours, theirs, f"ndcg@{self.k}", against=MODEL_ALONE, seed=self.seed)


def _effects(known: Known, found: Sequence[Case], judge: _Judge, alone: pa.Table) -> list[Effect]:
    measured = [_Made.of(case) for case in found if not case.skipped]
    lists = iter(_lists(known, measured, judge.k))
    effects = []
    for case in found:
        if case.skipped:
            effects.append(Effect(case.kind, case.name, skipped=case.skipped))
            continue
        shown, removed = next(lists)
        found_line = judge.line(case.name, shown)
        effects.append(Effect(case.kind, case.name, removed, found_line, judge.minus(shown, alone)))
    return effects


@dataclass(frozen=True)
class _Made:
    """A case with its rules and its order."""

    case: Case
    rules: list[tuple[str, Rule]]
    order: Order

    @classmethod
    def of(cls, case: Case) -> _Made:
        order = make(ORDERS, case.order.kind, case.order.params, what="kind", where="the report")
        return cls(case, make_rules(case.rules, "the report"), order)

    @property
    def columns(self) -> list[str]:
        return [*self.order.columns, *(name for _, rule in self.rules for name in rule.columns), *self.case.columns]

    def lists(self, rows: pa.Table, scores: np.ndarray, table: Table, k: int) -> tuple[pa.Table, int]:
        """Return the lists of whole users' rows, and how many of the rows the rules keep."""
        items, now = rows[ITEM].combine_chunks(), rows[TIME][0].as_py()
        kept, _ = filtered(Pool(items, {}, table, now, {}), self.rules)
        groups, chosen = user_groups(rows), []
        ask = Ask(user=0, k=k - self.case.places, unfamiliar=self.case.unfamiliar)
        for start, size in zip(groups.starts.tolist(), groups.sizes.tolist(), strict=True):
            own = slice(start, start + size)
            pool = Pool(items.slice(start, size), {}, replace(table, start=start, rows=size), now, {})
            best = np.flatnonzero(kept[own])
            chosen.append(start + arranged(pool, best, scores[own], ask, self.case.order, self.order, self.rules))
        ranks = np.concatenate([np.arange(1, len(shown) + 1, dtype=np.int32) for shown in chosen])
        picked = rows.select([USER, ITEM]).take(pa.array(np.concatenate(chosen)))
        return picked.append_column(RANK, pa.array(ranks)), int(kept.sum())


def _lists(known: Known, made: Sequence[_Made], k: int) -> list[tuple[pa.Table, float]]:
    """Return for each case its lists, and the share of the candidates that its rules remove; features are read once."""
    columns = dict.fromkeys(name for one in made for name in one.columns)
    parts: list[list[pa.Table]] = [[] for _ in made]
    kept = np.zeros(len(made), np.int64)
    for place, table in known.parts(list(columns)):
        rows, scores = known.rows.slice(place.start, place.stop - place.start), known.scores[place]
        for number, one in enumerate(made):
            shown, stay = one.lists(rows, scores, table, k)
            parts[number].append(shown)
            kept[number] += stay
    removed = 1 - kept / max(known.rows.num_rows, 1)
    return [(pa.concat_tables(shown), float(share)) for shown, share in zip(parts, removed, strict=True)]


def report_path(workspace: Workspace) -> Path:
    """Where the latest report lies."""
    return workspace.data_dir / "reports" / "serving.json"


def render(report: ServingReport) -> RenderableType:
    """Return the tables: what rules cost, what orders change; how a case differs from the model alone."""
    from rich.console import Group
    from rich.text import Text

    heading = (
        f"Serving, each rule and order alone: {report.users:,} users, {report.candidates:,} candidates of stage one. "
        "`better` and `worse` where the 95% interval of the change excludes 0."
    )
    tables = [_table(report, kind, title) for kind, title in (("rule", "Rules"), ("order", "Orders"))]
    skipped = [Text(f"{one.kind} {one.name} was not measured: {one.skipped}.") for one in report.effects if one.skipped]
    return Group(Text(heading), *tables, *skipped)


def _table(report: ServingReport, kind: str, title: str) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table as Shown

    shown = Shown(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown.add_column(kind, overflow="fold", min_width=len(MODEL_ALONE))
    first = ["removed"] if kind == "rule" else []
    for name in (*first, "NDCG", "change", "", "Recall", "Coverage", "Novelty", "Diversity"):
        shown.add_column(name, justify="right", no_wrap=True)
    blank = [""] if kind == "rule" else []
    shown.add_row(MODEL_ALONE, *blank, *_cells(report.alone, None, report.k), end_section=True)
    for effect in report.effects:
        if effect.kind == kind and effect.line is not None:
            removed = [f"{effect.removed:.1%}"] if kind == "rule" else []
            shown.add_row(escape(effect.name), *removed, *_cells(effect.line, effect.difference, report.k))
    return shown


def _cells(found: Line, change: Difference | None, k: int) -> list[str]:
    values = [found.metrics[f"{name}@{k}"] for name in ("ndcg", "recall", "coverage", "novelty", "diversity")]
    ndcg, *others = ("–" if value is None else f"{value:.4f}" for value in values)
    if change is None:
        return [ndcg, "", "", *others]
    verdict = "" if change.verdict == "not different" else change.verdict
    return [ndcg, f"{change.mean:+.4f}", verdict, *others]
