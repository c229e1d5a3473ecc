"""Two models side by side: on the validation window by what training noted, on the test window by new lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.columns import USER
from feature_repo.errors import ContractError
from ranking import looks, model_store
from ranking.comparison import Difference, difference
from ranking.metrics import DEPTHS, HEADLINE, K
from ranking.validation_scores import USERS, WINDOW

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

METRICS: Final = (*(f"{name}@{K}" for name in HEADLINE), "precision@1", "ndcg@5", "ndcg@20", "ndcg@50")
Values = dict[str, np.ndarray]


@dataclass(frozen=True)
class CutMeans:
    """One of several windows: its times (ISO 8601, UTC), its users and the mean NDCG@10 of both models."""

    start: str
    end: str
    users: int
    first: float
    second: float


@dataclass(frozen=True)
class Comparison:
    """Two models on one window: the mean of every metric of each, and first minus second with 95% intervals.

    `looks`: how often the test window was looked at, both looks of this comparison included; None on validation.
    `cuts`: the windows of a comparison over several (`ranking.compare_cuts`).
    """

    window: str
    users: int
    models: tuple[str, str]
    first: dict[str, float]
    second: dict[str, float]
    differences: list[Difference]
    looks: int | None = None
    cuts: list[CutMeans] = field(default_factory=list)


def compare_on_validation(workspace: Workspace, first: str, second: str) -> Comparison:
    """Compare two models by how they did on validation before their refit, users paired.

    Raises ContractError where they were validated on other data or another window, MissingError for a model that was
    saved without its validation.
    """
    tables = [model_store.read_validation(workspace, name) for name in (first, second)]
    windows = [table.schema.metadata[WINDOW].decode() for table in tables]
    if windows[0] != windows[1]:
        raise ContractError(
            f"{first} and {second}",
            expected="the same data and validation window, to be compared user by user",
            got=" and ".join(_window(text) for text in windows),
            fix="Train both with the same `split`, or use `--test`.",
        )
    judged = max(int(table.schema.metadata[USERS]) for table in tables)
    one, two = paired(tables, judged)
    return compared(workspace, f"validation {_window(windows[0])}", (first, second), one, two)


def compare_on_test(workspace: Workspace, first: str, second: str) -> Comparison:
    """Compare two models on the test window; both count as a look at it."""
    from ranking.evaluate import evaluate
    from ranking.judging import score_lists
    from ranking.truth import read_judged

    test = workspace.periods.test
    with workspace.connect() as connection:
        truth = read_judged(connection, test, allow_repeats=workspace.allow_repeats)
    values = []
    for name in (first, second):
        values.append(score_lists(evaluate(workspace, model=name, k=max(DEPTHS))[1], truth, K))
        ndcg = float(values[-1][METRICS[0]].mean())
        count = looks.look_at_test(workspace, model=name, ndcg=ndcg, purpose="compare")
    window = f"test {test.start.isoformat()} {test.end.isoformat()}"
    return compared(workspace, window, (first, second), *values, looks=count.looks)


def paired(tables: list[pa.Table], judged: int) -> tuple[Values, Values]:
    """Return the metrics of both tables for the same `judged` users; a user without a row scores zero."""
    everyone = pc.unique(pa.chunked_array([chunk for table in tables for chunk in table[USER].chunks]))
    found = []
    for table in tables:
        place = pc.index_in(table[USER].combine_chunks(), value_set=everyone).to_numpy()
        values = {metric: np.zeros(max(judged, len(everyone))) for metric in METRICS}
        for metric in METRICS:
            values[metric][place] = table[metric].to_numpy()
        found.append(values)
    return found[0], found[1]


def compared(
    workspace: Workspace,
    window: str,
    names: tuple[str, str],
    one: Values,
    two: Values,
    *,
    looks: int | None = None,
    cuts: Sequence[CutMeans] = (),
) -> Comparison:
    """Compare the values of two models per user, in the same order."""
    seed = workspace.config.ranker.seed
    return Comparison(
        window=window,
        users=len(one[METRICS[0]]),
        models=names,
        first={metric: float(one[metric].mean()) for metric in METRICS},
        second={metric: float(two[metric].mean()) for metric in METRICS},
        differences=[difference(one, two, metric, against=names[1], seed=seed) for metric in METRICS],
        looks=looks,
        cuts=list(cuts),
    )


def _window(text: str) -> str:
    _, start, end = text.split(" ")
    return f"[{start}, {end})"
