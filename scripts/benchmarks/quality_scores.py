"""Lists to figures: one value per user and metric, averaged over seeds and windows, and compared in pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_repo.columns import CONSUMING, ITEM, RANK, TIME, USER
from feature_repo.errors import DataError
from ranking.comparison import Difference, difference, pooled
from ranking.metrics import average_precision, hit_rate, ndcg, precision, recall, reciprocal_rank
from ranking.truth import Truth

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

K = 10
METRICS = ("ndcg@10", "map@10", "recall@10", "mrr", "hitrate", "p@1")
_SEEN = f"""
SELECT count(*) FROM (SELECT DISTINCT {USER}, {ITEM} FROM lists) SEMI JOIN
    (SELECT {USER}, {ITEM} FROM events WHERE {TIME} < ? AND {CONSUMING}) USING ({USER}, {ITEM})"""


@dataclass(frozen=True)
class Scores:
    """One value per user and metric: `users` ascending own ids, `values` float64 by metric in the same order.

    `seeds`: the mean NDCG@10 of every seed that went into the values.
    """

    users: pa.Array
    values: dict[str, np.ndarray]
    seeds: tuple[float, ...] = ()

    def mean(self, metric: str) -> float:
        return float(self.values[metric].mean())


def score(truth: Truth, lists: Sequence[pa.Table]) -> Scores:
    """Score the lists of one ranking on one window; several lists are its seeds, and each user gets their mean."""
    parts = [_one(truth.hits(table, K), truth.relevant) for table in lists]
    values = {metric: np.mean([part[metric] for part in parts], axis=0) for metric in METRICS}
    return Scores(truth.users, values, tuple(float(part["ndcg@10"].mean()) for part in parts))


def pool(windows: Iterable[Scores]) -> Scores:
    """Return the scores over several windows: a user who is judged on more than one counts once, with the mean."""
    windows = list(windows)
    if len(windows) == 1:
        return windows[0]
    users, values = pooled([window.users for window in windows], [window.values for window in windows])
    judged = np.array([len(window.users) for window in windows])
    seeds = np.array([window.seeds for window in windows]) if _same_seeds(windows) else np.empty((len(windows), 0))
    return Scores(users, values, tuple((judged @ seeds / judged.sum()).tolist()))


def compare(ours: Scores, theirs: Scores, metric: str = "ndcg@10", *, name: str = "", seed: int = 0) -> Difference:
    """Compare two rankings of the same users; `name` is the second one's."""
    return difference(ours.values, theirs.values, metric, against=name, seed=seed)


def best(scores: dict[str, Scores], metric: str = "ndcg@10") -> str:
    """Return the name of the ranking with the highest mean; the first among equals."""
    return reduce(lambda one, two: two if scores[two].mean(metric) > scores[one].mean(metric) else one, scores)


def check_lists(workspace: Workspace, truth: Truth, name: str, lists: pa.Table) -> None:
    """Raise DataError for lists that show what the user had consumed, or one item or rank twice."""
    with workspace.connect() as connection:
        connection.register("lists", lists)
        [(seen,)] = connection.execute(_SEEN, [truth.window.start]).fetchall()
        [(rows, items, ranks)] = connection.execute(
            f"SELECT count(*), count(DISTINCT ({USER}, {ITEM})), count(DISTINCT ({USER}, {RANK})) FROM lists"
        ).fetchall()
    if seen and not workspace.allow_repeats:
        raise DataError(
            f"the lists of {name}", expected="nothing that the user had consumed before the cut",
            got=f"{seen} such pairs", fix="Filter them before the lists are cut to ten.",
        )  # fmt: skip
    if min(items, ranks) != rows:
        raise DataError(
            f"the lists of {name}", expected="every item and every rank once per user",
            got=f"{rows} rows with {items} items and {ranks} ranks", fix="Mend the source of the lists.",
        )  # fmt: skip


def _one(hits: np.ndarray, relevant: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "ndcg@10": ndcg(hits, relevant, K),
        "map@10": average_precision(hits, relevant, K),
        "recall@10": recall(hits, relevant, K),
        "mrr": reciprocal_rank(hits, relevant, K),
        "hitrate": hit_rate(hits, relevant, K),
        "p@1": precision(hits, relevant, 1),
    }


def _same_seeds(windows: list[Scores]) -> bool:
    return len({len(window.seeds) for window in windows}) == 1
