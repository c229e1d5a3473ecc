"""Every generator, their union and the two-stage list on the test window, by the truth protocol."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from candidate_gen import entity_table
from candidate_gen.pipeline import Progress, silent
from feature_repo.columns import ITEM, RANK, USER
from feature_repo.errors import ContractError, MissingError
from ranking import model_store
from ranking.export import top_lists
from ranking.metrics import headline, ndcg, paired_bootstrap, recall
from ranking.model_store import ModelManifest
from ranking.order import place_in_groups
from ranking.scoring import score_offline
from ranking.service import service_columns
from ranking.train import of_users
from ranking.training_set import user_groups, with_cut
from ranking.truth import Truth, read_judged

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

DEPTHS: Final = (20, 50, 100)
TWO_STAGE: Final = "two-stage"
UNION: Final = "union"


@dataclass(frozen=True)
class Line:
    """One line of the report: means over the judged users. `recalls` by depth, "all" among them."""

    name: str
    metrics: dict[str, float]
    recalls: dict[str, float]


@dataclass(frozen=True)
class Difference:
    """Two-stage minus the best single source, users resampled in pairs: mean and 95% interval."""

    against: str
    metric: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """The report of one model on its test window. Times are ISO 8601 in UTC."""

    model: str
    test_start: str
    test_end: str
    k: int
    users: int
    pairs: int
    catalogue: int
    validation: dict[str, float]
    lines: list[Line]
    difference: Difference

    def line(self, name: str) -> Line:
        return next(line for line in self.lines if line.name == name)

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        raw = json.loads(text)
        lines = [Line(**line) for line in raw.pop("lines")]
        return cls(**raw | {"difference": Difference(**raw["difference"])}, lines=lines)


def evaluate(
    workspace: Workspace, *, model: str | None = None, k: int = 10, progress: Progress = silent
) -> tuple[Evaluation, pa.Table]:
    """Evaluate a model (default: the current one) on the test window; return the report and the two-stage lists.

    The lists hold k items for every user who has candidates at the test cut: user_id, item_id, rank, score.
    """
    manifest = model_store.read_manifest(workspace, model)
    _check_test_is_unseen(workspace, manifest)
    loaded = model_store.load(workspace, service_columns(workspace, manifest.service), manifest.name)
    test = workspace.periods.test
    rows = entity_table.read(workspace, test.start).sort_by([(USER, "ascending"), (ITEM, "ascending")])
    _check_sources(workspace, rows)
    with workspace.connect() as connection:
        truth = read_judged(connection, test, allow_repeats=workspace.config.allow_repeats)
    scores = score_offline(workspace, loaded, with_cut(rows.select([USER, ITEM]), test.start), progress=progress)
    lists = top_lists(rows, scores, user_groups(rows), k)
    return _report(workspace, manifest, rows, lists, truth, k), lists


def report_path(workspace: Workspace) -> Path:
    """Where the latest report lies."""
    return workspace.data_dir / "reports" / "evaluation.json"


def write_report(report: Evaluation, path: Path) -> None:
    """Write the report as JSON, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def read_report(workspace: Workspace) -> Evaluation:
    """Return the latest report; raise MissingError where nothing was evaluated yet."""
    path = report_path(workspace)
    if not path.exists():
        raise MissingError(path, expected="a report", got="none", fix="Run `rankhouse evaluate` first.")
    return Evaluation.from_json(path.read_text(encoding="utf-8"))


def _check_test_is_unseen(workspace: Workspace, manifest: ModelManifest) -> None:
    test = workspace.periods.test.start.isoformat()
    if manifest.labels_end > test:
        raise ContractError(
            f"model {manifest.name}",
            expected=f"training labels before the test window, which starts at {test}",
            got=f"labels up to {manifest.labels_end}",
            fix="Run `rankhouse train` with this configuration.",
        )


def _check_sources(workspace: Workspace, rows: pa.Table) -> None:
    """Raise ContractError where the entity table was written with other sources than the configuration names."""
    missing = [name for name in workspace.config.candidates.sources if f"{name}_proposed" not in rows.column_names]
    if missing:
        raise ContractError(
            f"the entity table of {workspace.data_dir}",
            expected=f"the configured sources ({', '.join(workspace.config.candidates.sources)})",
            got=f"nothing of {', '.join(missing)}",
            fix="Run `rankhouse candidates`, `features build`, `apply` and `train` again, in this order.",
        )


def _report(
    workspace: Workspace, manifest: ModelManifest, rows: pa.Table, lists: pa.Table, truth: Truth, k: int
) -> Evaluation:
    rows = of_users(rows, truth.users)
    sources = {name: source_lists(rows, name) for name in workspace.config.candidates.sources}
    lines = [_line(name, source, truth, k) for name, source in sources.items()]
    lines.append(_line(UNION, union_lists(rows), truth, k))
    lines.append(_line(TWO_STAGE, lists, truth, k))
    best = max(lines[: len(sources)], key=lambda line: line.metrics[f"ndcg@{k}"]).name
    ours, theirs = (ndcg(truth.hits(table, k), truth.relevant, k) for table in (lists, sources[best]))
    mean, low, high = paired_bootstrap(ours, theirs, seed=workspace.config.ranker.seed)
    return Evaluation(
        model=manifest.name,
        test_start=truth.window.start.isoformat(),
        test_end=truth.window.end.isoformat(),
        k=k,
        users=len(truth.users),
        pairs=len(truth.items),
        catalogue=truth.catalogue,
        validation=manifest.metrics,
        lines=lines,
        difference=Difference(best, f"ndcg@{k}", mean, low, high),
    )


def _line(name: str, lists: pa.Table, truth: Truth, k: int) -> Line:
    depth = max(pc.max(lists[RANK]).as_py() or 0, k)
    hits = truth.hits(lists, depth)
    shown = lists.filter(pc.and_(pc.less_equal(lists[RANK], k), pc.is_in(lists[USER], value_set=truth.users)))
    coverage = pc.count_distinct(shown[ITEM]).as_py() / truth.catalogue
    recalls = {str(at): float(recall(hits, truth.relevant, at).mean()) for at in DEPTHS}
    recalls["all"] = float(recall(hits, truth.relevant, depth).mean())
    return Line(name, headline(hits, truth.relevant, k) | {f"coverage@{k}": coverage}, recalls)


def source_lists(rows: pa.Table, source: str) -> pa.Table:
    """Return a source's own ranking: user_id, item_id, rank of the pairs that it proposed."""
    proposed = rows.filter(rows[f"{source}_proposed"])
    return proposed.select([USER, ITEM, f"{source}_rank"]).rename_columns([USER, ITEM, RANK])


def union_lists(rows: pa.Table) -> pa.Table:
    """Return the union in order of the best rank any source gave; ties: more sources, then the smaller item id.

    `rows` are sorted by user, then item.
    """
    groups = user_groups(rows)
    best, sources = rows["best_rank"].to_numpy(), rows["sources_count"].to_numpy()
    ranks = place_in_groups(groups, best, -sources)
    return rows.select([USER, ITEM]).append_column(RANK, pa.array((ranks + 1).astype(np.int32)))
