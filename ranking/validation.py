"""Two ways to validate, side by side: on a later window, as the model is used, and on users held out of the same cuts.

Validation by users sees other users' labels of the very same days, so it is the easier of the two: a wide gap says that
the ranker has learned its period. Nothing is chosen by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from candidate_gen.pipeline import Progress, silent
from ranking.matrices import predict
from ranking.order import Groups
from ranking.ranker import Examples, Judge, fit_ranker
from ranking.subsets import judge_of_examples, some_examples
from ranking.train import Materials, read_materials

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace


@dataclass(frozen=True)
class Validated:
    """One way to validate: mean NDCG@10 over so many lists, its standard error, the trees of every fit."""

    name: str
    lists: int
    ndcg: float
    error: float
    rounds: list[int]


def validate(workspace: Workspace, *, folds: int = 5, progress: Progress = silent) -> list[Validated]:
    """Fit for the validation window, then once per fold of the users of the training cuts; save no model.

    To be comparable both count as relevant only what stage one proposed, and only lists that hold something relevant.
    """
    materials = read_materials(workspace, progress=progress)
    later = _found_only(materials.judge)
    progress("fits", 0, folds + 1)
    values, rounds = _fit(workspace, materials, materials.train, later)
    found = [_summary("time-ordered", [values], [rounds])]
    fold = user_folds(materials.users, folds, workspace.config.ranker.seed)
    parts, trees = [], []
    for number in range(folds):
        progress("fits", number + 1, folds + 1)
        held = fold == number
        rows = held[materials.train.groups.number()]
        judge = judge_of_examples(some_examples(materials.train, rows), materials.users.filter(pa.array(held)))
        values, rounds = _fit(workspace, materials, some_examples(materials.train, ~rows), judge)
        parts.append(values)
        trees.append(rounds)
    progress("fits", folds + 1, folds + 1)
    return [*found, _summary("by users", parts, trees)]


def user_folds(users: pa.Array, folds: int, seed: int) -> np.ndarray:
    """Return the fold of every group, int (groups,): all groups of a user lie in one, folds hold as many users."""
    distinct = pc.unique(users)
    order = np.random.default_rng(seed).permutation(len(distinct))
    return (order % folds)[pc.index_in(users, value_set=distinct).to_numpy()]


def _found_only(judge: Judge) -> Judge:
    """Return the judge of the lists that hold something relevant, what was not proposed left out of account."""
    found = np.bincount(judge.groups.number(), weights=judge.hit, minlength=len(judge.groups.sizes)).astype(np.int64)
    kept = (found > 0)[judge.groups.number()]
    groups = Groups(judge.groups.sizes[found > 0])
    users = judge.user_ids.filter(pa.array(found > 0))
    return Judge(judge.matrix[kept], groups, judge.hit[kept], found[found > 0], len(groups.sizes), users)


def _fit(workspace: Workspace, materials: Materials, examples: Examples, judge: Judge) -> tuple[np.ndarray, int]:
    """Return NDCG@10 of every list of the judge, and the number of trees."""
    config = workspace.config.ranker
    fitted = fit_ranker(config, materials.gains, materials.encoding, examples, judge=judge)
    return judge.per_group(predict(fitted.booster, judge.matrix, rounds=fitted.rounds)), int(fitted.rounds)


def _summary(name: str, parts: list[np.ndarray], rounds: list[int]) -> Validated:
    values = np.concatenate(parts)
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return Validated(name, len(values), float(values.mean()), error, rounds)
