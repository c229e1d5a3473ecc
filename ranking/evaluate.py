"""Every generator, their union and the two-stage list on the test window, by the truth protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from candidate_gen import entity_table
from candidate_gen.pipeline import Progress, silent
from feature_repo.columns import ITEM, RANK, USER
from feature_repo.errors import ContractError
from ranking import model_store
from ranking.comparison import Difference, difference
from ranking.evaluation import TWO_STAGE, UNION, Evaluation
from ranking.export import top_lists
from ranking.judging import DEPTHS, Split, line, parts, read_split, score_lists, with_captured
from ranking.metrics import HEADLINE
from ranking.model_store import ModelManifest
from ranking.order import place_in_groups
from ranking.scoring import score_offline
from ranking.service import service_columns
from ranking.train import of_users
from ranking.training_set import user_groups, with_cut
from ranking.truth import Truth, read_judged

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace


TRUTH: Final = "truth"
Shown = Callable[[str, pa.Table], None]
"""Called with what is judged, by name: `truth` (user_id, item_id) and every ranking (user_id, item_id, rank)."""


def unseen(name: str, table: pa.Table) -> None:
    """A Shown that keeps nothing."""


def evaluate(
    workspace: Workspace,
    *,
    model: str | None = None,
    k: int = 10,
    by: Sequence[str] = (),
    shown: Shown = unseen,
    progress: Progress = silent,
) -> tuple[Evaluation, pa.Table]:
    """Evaluate a model (default: the current one) on the test window; return the report and the two-stage lists.

    `by` names user attributes to tell the judged users apart by. The lists hold k items for every user who has
    candidates at the test cut: user_id, item_id, rank, score. `shown` gets what is judged, of judged users.
    """
    manifest = model_store.read_manifest(workspace, model)
    _check_test_is_unseen(workspace, manifest)
    loaded = model_store.load(workspace, service_columns(workspace, manifest.service), manifest.name)
    test = workspace.periods.test
    rows = _candidates(workspace)
    with workspace.connect() as connection:
        truth = read_judged(connection, test, allow_repeats=workspace.allow_repeats)
        split = read_split(workspace, connection, truth, by)
    scores = score_offline(workspace, loaded, with_cut(rows.select([USER, ITEM]), test.start), progress=progress)
    lists = top_lists(rows, scores, user_groups(rows), max(k, *DEPTHS))
    report = _report(workspace, manifest, of_users(rows, truth.users), lists, truth, split, k, shown)
    return report, lists.filter(pc.less_equal(lists[RANK], k))


def _check_test_is_unseen(workspace: Workspace, manifest: ModelManifest) -> None:
    test = workspace.periods.test.start.isoformat()
    if manifest.labels_end > test:
        raise ContractError(
            f"model {manifest.name}",
            expected=f"training labels before the test window, which starts at {test}",
            got=f"labels up to {manifest.labels_end}",
            fix="Run `rankhouse train` with this configuration.",
        )


def _candidates(workspace: Workspace) -> pa.Table:
    """Return who proposed what at the test cut, sorted by user, then item: of scores and features nothing is held."""
    verdicts = [f"{name}_{what}" for name in workspace.config.candidates.sources for what in ("proposed", "rank")]
    columns = [USER, ITEM, *verdicts, "best_rank", "sources_count"]
    rows = entity_table.read(workspace, workspace.periods.test.start, columns)
    _check_sources(workspace, rows)
    return rows.sort_by([(USER, "ascending"), (ITEM, "ascending")])


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
    workspace: Workspace,
    manifest: ModelManifest,
    rows: pa.Table,
    lists: pa.Table,
    truth: Truth,
    split: Split,
    k: int,
    shown: Shown,
) -> Evaluation:
    seed, main = workspace.config.ranker.seed, f"ndcg@{k}"
    rankings = {name: source_lists(rows, name) for name in workspace.config.candidates.sources}
    rankings |= {UNION: union_lists(rows), TWO_STAGE: lists}
    shown(TRUTH, truth.pairs)
    for name, ranking in rankings.items():
        shown(name, of_users(ranking.filter(pc.less_equal(ranking[RANK], k)), truth.users))
    values = {name: score_lists(ranking, truth, k) for name, ranking in rankings.items()}
    lines = [line(name, ranking, values[name], truth, split, k) for name, ranking in rankings.items()]
    ours = values[TWO_STAGE]
    best = max(workspace.config.candidates.sources, key=lambda name: values[name][main].mean())

    def minus(name: str, metric: str) -> Difference:
        return difference(ours, values[name], metric, against=name, seed=seed)

    metrics = dict.fromkeys([*(f"{name}@{k}" for name in HEADLINE), "precision@1"])
    return Evaluation(
        model=manifest.name,
        test_start=truth.window.start.isoformat(),
        test_end=truth.window.end.isoformat(),
        k=k,
        users=len(truth.users),
        pairs=len(truth.items),
        catalogue=truth.catalogue,
        validation=manifest.metrics,
        lines=[
            one if one.name == TWO_STAGE else replace(one, difference=minus(one.name, main))
            for one in with_captured(lines, k)
        ],
        differences=[minus(best, metric) for metric in metrics],
        parts=parts(truth, split, lists, rankings[best], against=best, k=k, seed=seed),
    )


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
