"""Every generator, their union and the two-stage list on the test window, by the truth protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from ranking.hits import NOT_LISTED, Gathered, Hits, row_users
from ranking.judging import DEPTHS, Split, line, parts, read_split, score_hits, with_captured
from ranking.metrics import HEADLINE
from ranking.model_store import ModelManifest, RankingModel
from ranking.order import EMPTY, Groups, place_in_groups, top_rows
from ranking.scoring import score_offline, whole_users
from ranking.service import service_columns
from ranking.train import group_users
from ranking.training_set import READ_ROWS, user_groups, with_cut
from ranking.trees.scorer import predictor
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
    with workspace.connect() as connection:
        truth = read_judged(connection, workspace.periods.test, allow_repeats=workspace.allow_repeats)
        split = read_split(workspace, connection, truth, by)
    gathered, lists = Gathered(truth, split.catalogue, k), []
    for rows, scores in _scored(workspace, loaded, progress):
        lists.append(top_lists(rows, scores, user_groups(rows), k))
        _add(gathered, rows, _rankings(workspace, rows, scores, max(k, *DEPTHS)))
    return _report(workspace, manifest, gathered.rankings(), truth, split, k, shown), pa.concat_tables(lists)


def _scored(workspace: Workspace, model: RankingModel, progress: Progress) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Yield the candidates of the test cut with their scores, whole users at a time, sorted by user, then item.

    What is held does not grow with the number of users: neither their features nor who proposed what.
    """
    cut, done = workspace.periods.test.start, 0
    sources = workspace.config.candidates.sources
    verdicts = [f"{name}_{what}" for name in sources for what in ("proposed", "rank")]
    with entity_table.open_cut(workspace, cut) as stored:
        _check_sources(workspace, stored.schema_arrow.names)
        total = stored.metadata.num_rows
        predict = predictor(model.booster, total)
        columns = [USER, ITEM, *verdicts, "best_rank", "sources_count"]
        for rows in whole_users(stored.iter_batches(columns=columns), READ_ROWS):
            progress("score", done, total)
            yield rows, score_offline(workspace, model, with_cut(rows.select([USER, ITEM]), cut), predict=predict)
            done += rows.num_rows
    progress("score", total, total)


def _rankings(workspace: Workspace, rows: pa.Table, scores: np.ndarray, depth: int) -> dict[str, np.ndarray]:
    """Return the rank that each source, the union and the model give to every row of whole users."""
    groups = user_groups(rows)
    best = top_rows(scores, groups, depth)
    two_stage = np.full(rows.num_rows, NOT_LISTED, np.int64)
    two_stage[best[best != EMPTY]] = np.nonzero(best != EMPTY)[1] + 1
    sources = {name: source_ranks(rows, name) for name in workspace.config.candidates.sources}
    return {**sources, UNION: union_ranks(rows, groups), TWO_STAGE: two_stage}


def _add(gathered: Gathered, rows: pa.Table, ranks: dict[str, np.ndarray]) -> None:
    users = row_users(gathered.truth, group_users(rows), user_groups(rows))
    gathered.add(users, rows[ITEM].combine_chunks(), ranks)


def _check_test_is_unseen(workspace: Workspace, manifest: ModelManifest) -> None:
    test = workspace.periods.test.start.isoformat()
    if manifest.labels_end > test:
        raise ContractError(
            f"model {manifest.name}",
            expected=f"training labels before the test window, which starts at {test}",
            got=f"labels up to {manifest.labels_end}",
            fix="Run `rankhouse train` with this configuration.",
        )


def _check_sources(workspace: Workspace, columns: Sequence[str]) -> None:
    """Raise ContractError where the entity table was written with other sources than the configuration names."""
    missing = [name for name in workspace.config.candidates.sources if f"{name}_proposed" not in columns]
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
    rankings: dict[str, Hits],
    truth: Truth,
    split: Split,
    k: int,
    shown: Shown,
) -> Evaluation:
    seed, main = workspace.config.ranker.seed, f"ndcg@{k}"
    shown(TRUTH, truth.pairs)
    for name, ranking in rankings.items():
        shown(name, ranking.lists(truth, split.catalogue))
    values = {name: score_hits(ranking, truth, k) for name, ranking in rankings.items()}
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
        parts=parts(truth, split, rankings[TWO_STAGE], rankings[best], against=best, k=k, seed=seed),
    )


def source_lists(rows: pa.Table, source: str) -> pa.Table:
    """Return a source's own ranking: user_id, item_id, rank of the pairs that it proposed."""
    proposed = rows.filter(rows[f"{source}_proposed"])
    return proposed.select([USER, ITEM, f"{source}_rank"]).rename_columns([USER, ITEM, RANK])


def source_ranks(rows: pa.Table, source: str) -> np.ndarray:
    """Return the rank that a source gives to every row, NOT_LISTED for what it did not propose."""
    proposed = pc.fill_null(rows[f"{source}_proposed"], False).to_numpy()
    return np.where(proposed, pc.fill_null(rows[f"{source}_rank"], NOT_LISTED).to_numpy(), NOT_LISTED)


def union_ranks(rows: pa.Table, groups: Groups) -> np.ndarray:
    """Return the ranks of the union in order of the best rank any source gave; ties: more sources, then row order."""
    best, sources = rows["best_rank"].to_numpy(), rows["sources_count"].to_numpy()
    return place_in_groups(groups, best, -sources) + 1
