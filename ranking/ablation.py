"""What each part of the chain is worth: trained without it, judged on the validation window, never on the test window.

What training reads is read once; a case takes columns and rows from it, or reads it again where it must. Each case is
fitted with several seeds, a user's value is the mean over them, and cases are compared with the whole by paired
bootstrap over users.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from candidate_gen.pipeline import Progress, silent
from feature_repo.config import RankerConfig
from feature_repo.errors import DataError, did_you_mean
from ranking.ablation_cases import Case, Cases, by_cut, by_depth, by_family, by_objective, by_source
from ranking.ablation_rereading import best_source, by_horizon, by_negatives, by_refit, by_split
from ranking.boosting import without_constraints_on_others
from ranking.comparison import Difference, difference
from ranking.families import service_families
from ranking.matrices import predict
from ranking.metrics import K
from ranking.ranker import Judge, fit_ranker
from ranking.train import Materials, read_materials

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

Kind = Literal["families", "sources", "cuts", "depth", "objectives", "negatives", "horizon", "split", "refit"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
CASES: Final[dict[Kind, Callable[[Workspace, Materials, dict[str, str]], Cases]]] = {
    "families": by_family,
    "sources": by_source,
    "cuts": by_cut,
    "depth": by_depth,
    "objectives": by_objective,
    "negatives": by_negatives,
    "horizon": by_horizon,
    "split": by_split,
    "refit": by_refit,
}
WHOLE: Final = "everything"
METRIC: Final = f"ndcg@{K}"


@dataclass(frozen=True)
class Ablated:
    """A case's outcome: NDCG@10 by seed over its users, trees by seed, and its difference (None for the whole).

    The difference is to everything as configured, for the same users where the case knows only some, or to what
    `difference.against` names.
    """

    kind: str
    name: str
    rows: int
    columns: int
    users: int
    ndcg: list[float]
    rounds: list[int]
    difference: Difference | None

    @property
    def mean(self) -> float:
        return float(np.mean(self.ndcg))


@dataclass(frozen=True)
class AblationReport:
    """All cases on one validation window; times are ISO 8601 in UTC. The first case is everything as configured."""

    window: tuple[str, str]
    users: int
    seeds: int
    cases: list[Ablated]


@dataclass(frozen=True)
class _Values:
    """NDCG@10 of a case: `values` float64 (seeds, groups) of the judge's groups; users without any score zero."""

    judge: Judge
    values: np.ndarray
    rounds: list[int]

    def for_users(self, users: pa.Array, most: int) -> np.ndarray:
        """Return (seeds, most): the users in this order, then those whom nobody has candidates for."""
        padded = np.zeros((len(self.values), max(most, len(users))))
        padded[:, pc.index_in(self.judge.user_ids, value_set=users).to_numpy()] = self.values
        return padded


def kind_of(name: str) -> Kind:
    """Return the kind of cases with this name; raise DataError, with a near match, for another."""
    for kind in KINDS:
        if kind == name:
            return kind
    raise DataError(
        "--only",
        expected=f"one of {', '.join(KINDS)}",
        got=repr(name),
        fix=f"Name one of them.{did_you_mean(name, KINDS)}",
    )


def ablate(
    workspace: Workspace, kinds: Sequence[Kind] = KINDS, *, seeds: int = 3, progress: Progress = silent
) -> AblationReport:
    """Train without each part in turn; `kinds` names the parts. Raises what `read_materials` raises."""
    materials = read_materials(workspace, progress=progress)
    families = service_families(workspace, workspace.config.service)
    cases = [Case("", WHOLE, lambda: materials, workspace.config.ranker)]
    for kind in kinds:
        cases += CASES[kind](workspace, materials, families)
    found: list[Ablated] = []
    whole: _Values | None = None
    for number, case in enumerate(cases):
        progress("cases", number, len(cases))
        parts = case.make()
        values = _values(parts, case, seeds)
        pair = _pair(workspace, case, parts, values, whole or values)
        outcome = None
        if whole is not None:
            ours, theirs = ({METRIC: side.mean(axis=0)} for side in pair[1:])
            outcome = difference(ours, theirs, METRIC, against=pair[0], seed=workspace.config.ranker.seed)
        whole = whole or values
        found.append(_ablated(case, parts, pair[1], values.rounds, outcome))
    progress("cases", len(cases), len(cases))
    window = workspace.periods.validation
    return AblationReport((window.start.isoformat(), window.end.isoformat()), materials.judge.users, seeds, found)


def _ablated(case: Case, parts: Materials, ours: np.ndarray, rounds: list[int], outcome: Difference | None) -> Ablated:
    return Ablated(
        kind=case.kind,
        name=case.name,
        rows=len(parts.train.labels),
        columns=len(parts.encoding.columns),
        users=ours.shape[1],
        ndcg=[float(value) for value in ours.mean(axis=1)],
        rounds=rounds,
        difference=outcome,
    )


def _pair(
    workspace: Workspace, case: Case, parts: Materials, ours: _Values, whole: _Values
) -> tuple[str, np.ndarray, np.ndarray]:
    """Return what a case is compared with, and both sides' values (seeds, users) for the same users."""
    judge = ours.judge
    if case.against == "the best single source":
        name, values = best_source(judge, parts.encoding.names, list(workspace.config.candidates.sources))
        theirs = _Values(judge, values[None, :], [])
        return name, ours.for_users(judge.user_ids, judge.users), theirs.for_users(judge.user_ids, judge.users)
    users = whole.judge.user_ids
    if case.against == "everything, for the same users":
        users = users.filter(pc.is_in(users, value_set=judge.user_ids))
        place = pc.index_in(users, value_set=whole.judge.user_ids).to_numpy()
        return WHOLE, ours.for_users(users, 0), whole.values[:, place]
    return WHOLE, ours.for_users(users, judge.users), whole.for_users(users, judge.users)


def _values(materials: Materials, case: Case, seeds: int) -> _Values:
    """Fit with every seed and score the lists of the case."""
    judge = materials.judge if case.lists is None else case.lists(materials)
    config: RankerConfig = without_constraints_on_others(case.config, materials.encoding.names)
    values, rounds = [], []
    for seed in range(seeds):
        seeded = config.model_copy(update={"seed": config.seed + seed})
        fitted = fit_ranker(seeded, materials.gains, materials.encoding, materials.train, judge=materials.judge)
        values.append(judge.per_group(predict(fitted.booster, judge.matrix, rounds=fitted.rounds)))
        rounds.append(int(fitted.rounds))
    return _Values(judge, np.array(values), rounds)
