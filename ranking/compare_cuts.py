"""Two models side by side on several windows: what each was configured to be, fitted again for every split point.

A saved model has seen the labels of earlier windows, so the models themselves can only be judged after their own. What
is compared here is their configuration of the ranker, on the candidates and features that are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from candidate_gen.pipeline import Progress, silent
from feature_repo.config import RankerConfig
from feature_repo.errors import ContractError, MissingError
from feature_repo.workspace import Workspace
from ranking import model_store
from ranking.ablation_rereading import read_proposed, split_points, with_periods
from ranking.compare import METRICS, Comparison, CutMeans, compared
from ranking.comparison import pooled
from ranking.looks import deciding
from ranking.matrices import predict
from ranking.ranker import fit_ranker
from ranking.train import Materials
from ranking.validation_scores import judge_lists

if TYPE_CHECKING:
    import pyarrow as pa

Values = dict[str, np.ndarray]
# What the training set depends on: models that differ in other settings share what is read.
_READ_BY = (
    "labels",
    "keep_users_without_positives",
    "add_lost_positives",
    "negatives",
    "negatives_per_user",
    "users_per_cut",
    "seed",
)


def compare_on_cuts(
    workspace: Workspace, first: str, second: str, *, seeds: int = 2, progress: Progress = silent
) -> Comparison:
    """Fit both configurations for every split point, with so many seeds, and compare them over all of its users.

    A user who is judged on several windows counts once, by the mean; the test window is not looked at. Raises
    ContractError for models of other sources or another service than are configured now, MissingError for a model that
    was saved without its configuration.
    """
    rankers = [_ranker(workspace, name) for name in (first, second)]
    points = split_points(workspace)
    users: list[pa.Array] = []
    sides: tuple[list[Values], list[Values]] = ([], [])
    cuts = []
    for number, point in enumerate(points):
        progress("cuts", number, len(points))
        read: dict[str, Materials] = {}
        for ranker, side in zip(rankers, sides, strict=True):
            config = point.config.model_copy(update={"ranker": ranker})
            key = repr([getattr(ranker, name) for name in _READ_BY])
            if key not in read:
                read[key] = read_proposed(with_periods(point, config, point.periods))
            side.append(_fitted(read[key], ranker, seeds))
        users.append(read[key].judge.user_ids)
        means = [float(side[-1][METRICS[0]].mean()) for side in sides]
        start, end = (time.isoformat() for time in (point.periods.validation.start, point.periods.validation.end))
        cuts.append(CutMeans(start, end, len(users[-1]), *means))
    progress("cuts", len(points), len(points))
    one, two = (pooled(users, side)[1] for side in sides)
    return compared(workspace, f"{len(points)} windows, {seeds} seeds", (first, second), one, two, cuts=cuts)


def _fitted(materials: Materials, ranker: RankerConfig, seeds: int) -> Values:
    """Return every metric of every judged user who has candidates, the mean over the seeds."""
    found = []
    for seed in range(seeds):
        seeded = ranker.model_copy(update={"seed": ranker.seed + seed})
        fitted = fit_ranker(seeded, materials.gains, materials.encoding, materials.train, judge=materials.judge)
        scores = predict(fitted.booster, materials.judge.matrix, rounds=fitted.rounds)
        found.append(judge_lists(materials.judge, scores))
    return {metric: np.mean([values[metric] for values in found], axis=0) for metric in METRICS}


def _ranker(workspace: Workspace, name: str) -> RankerConfig:
    manifest = model_store.read_manifest(workspace, name)
    if not manifest.configuration:
        raise MissingError(
            f"model {name}", expected="the configuration that it was trained with", got="none",
            fix="Run `rankhouse train` again: models of older versions did not note it.",
        )  # fmt: skip
    now = deciding(workspace.config)
    changed = [part for part in ("candidates", "service") if manifest.configuration.get(part) != now.get(part)]
    if changed:
        raise ContractError(
            f"model {name}", expected="the candidates and the service that are configured now",
            got=f"another section `{changed[0]}`", fix="Compare models of one first stage, or give their `--config`.",
        )  # fmt: skip
    return RankerConfig.model_validate(manifest.configuration.get("ranker", {}))
