"""What each part of the chain is worth: trained without it, judged on the validation window, never on the test window.

What training reads is read once; a case takes columns and rows from it. Each case is fitted with several seeds, a
user's value is the mean over them, and cases are compared with the whole by paired bootstrap over users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from candidate_gen.pipeline import Progress, silent
from feature_repo.config import RankerConfig
from feature_repo.errors import DataError, did_you_mean
from ranking.comparison import Difference, difference
from ranking.families import SOURCE, columns_by_family, service_families
from ranking.metrics import K
from ranking.ranker import fit_ranker
from ranking.subsets import some_candidates, some_columns, some_examples, within_depths
from ranking.train import Materials, read_materials

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

Kind = Literal["families", "sources", "cuts", "depth", "objectives"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
WHOLE: Final = "everything"
METRIC: Final = f"ndcg@{K}"
OBJECTIVES: Final = ("lambdarank", "rank_xendcg", "binary", "regression")
DEPTH_SHARES: Final = (0.25, 0.5)


@dataclass(frozen=True)
class Case:
    """One thing that is otherwise than configured; `make` gives what to train on, when it is this case's turn."""

    kind: str
    name: str
    make: Callable[[], Materials]
    config: RankerConfig


@dataclass(frozen=True)
class Ablated:
    """A case's outcome: validation NDCG@10 by seed, trees by seed, and its difference to everything (None there)."""

    kind: str
    name: str
    rows: int
    columns: int
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
    users = materials.judge.user_ids
    found: list[Ablated] = []
    whole: np.ndarray | None = None
    for number, case in enumerate(cases):
        progress("cases", number, len(cases))
        parts = case.make()
        values, rounds = _values(parts, case.config, users, seeds)
        whole = values if whole is None else whole
        outcome = None
        if number:
            arrays = {METRIC: values.mean(axis=0)}, {METRIC: whole.mean(axis=0)}
            outcome = difference(*arrays, METRIC, against=WHOLE, seed=workspace.config.ranker.seed)
        ndcg = [float(value) for value in values.mean(axis=1)]
        columns = len(parts.encoding.columns)
        found.append(Ablated(case.kind, case.name, len(parts.train.labels), columns, ndcg, rounds, outcome))
    progress("cases", len(cases), len(cases))
    window = workspace.periods.validation
    return AblationReport((window.start.isoformat(), window.end.isoformat()), materials.judge.users, seeds, found)


def _values(materials: Materials, config: RankerConfig, users: pa.Array, seeds: int) -> tuple[np.ndarray, list[int]]:
    """Return NDCG@10, float64 (seeds, judged users), and the trees of every seed; who has no candidates scores zero."""
    judge = materials.judge
    values = np.zeros((seeds, max(judge.users, len(users))))
    place = pc.index_in(judge.user_ids, value_set=users).to_numpy()
    rounds = []
    for seed in range(seeds):
        seeded = config.model_copy(update={"seed": config.seed + seed})
        fitted = fit_ranker(seeded, materials.gains, materials.encoding, materials.train, judge=judge)
        values[seed, place] = judge.per_group(fitted.booster.predict(judge.matrix, num_iteration=fitted.rounds))
        rounds.append(int(fitted.rounds))
    return values, rounds


def without_columns(materials: Materials, dropped: Sequence[int]) -> Materials:
    """Return the materials without some columns."""
    kept = np.ones(len(materials.encoding.columns), bool)
    kept[list(dropped)] = False
    return replace(
        materials,
        encoding=some_columns(materials.encoding, kept),
        train=replace(materials.train, matrix=materials.train.matrix[:, kept]),
        judge=replace(materials.judge, matrix=materials.judge.matrix[:, kept]),
    )


def with_depths(materials: Materials, depths: dict[str, int]) -> Materials:
    """Return the materials as if only these sources proposed, this deep: fewer rows to learn from and to rank."""
    names = materials.encoding.names
    return replace(
        materials,
        train=some_examples(materials.train, within_depths(materials.train.matrix, names, depths)),
        judge=some_candidates(materials.judge, within_depths(materials.judge.matrix, names, depths)),
    )


Cases = Iterator[Case]


def _families(workspace: Workspace, materials: Materials, families: dict[str, str]) -> Cases:
    for name, columns in columns_by_family(materials.encoding.names, families).items():
        make = _later(without_columns, materials, columns)
        yield Case("families", f"without the columns of {name}", make, workspace.config.ranker)


def _sources(workspace: Workspace, materials: Materials, families: dict[str, str]) -> Cases:
    depths = _depths(workspace)
    if len(depths) < 2:
        return
    places = columns_by_family(materials.encoding.names, families)
    for source in depths:
        others = {name: depth for name, depth in depths.items() if name != source}

        def make(source: str = source, others: dict[str, int] = others) -> Materials:
            return without_columns(with_depths(materials, others), places.get(SOURCE + source, []))

        yield Case("sources", f"without {source} and what it alone proposes", make, workspace.config.ranker)


def _cuts(workspace: Workspace, materials: Materials, families: dict[str, str]) -> Cases:
    total = int(materials.cuts.max()) + 1
    for count in range(1, total):
        rows = (materials.cuts >= total - count)[materials.train.groups.number()]

        def make(rows: np.ndarray = rows) -> Materials:
            return replace(materials, train=some_examples(materials.train, rows))

        yield Case("cuts", f"the last {count} of {total} cuts", make, workspace.config.ranker)


def _depth(workspace: Workspace, materials: Materials, families: dict[str, str]) -> Cases:
    depths = _depths(workspace)
    for share in DEPTH_SHARES:
        fewer = {source: _share(depth, share) for source, depth in depths.items()}
        make = _later(with_depths, materials, fewer)
        yield Case("depth", f"every source {share:g} as deep", make, workspace.config.ranker)
    for source, depth in depths.items():
        make = _later(with_depths, materials, depths | {source: _share(depth, 0.5)})
        yield Case("depth", f"{source} half as deep", make, workspace.config.ranker)


def _objectives(workspace: Workspace, materials: Materials, families: dict[str, str]) -> Cases:
    for objective in OBJECTIVES:
        if workspace.config.ranker.objectives != [objective]:
            config = workspace.config.ranker.model_copy(update={"objective": objective, "blend": []})
            yield Case("objectives", f"{objective} alone", lambda: materials, config)


CASES: Final[dict[Kind, Callable[[Workspace, Materials, dict[str, str]], Cases]]] = {
    "families": _families,
    "sources": _sources,
    "cuts": _cuts,
    "depth": _depth,
    "objectives": _objectives,
}


def _later(make: Callable[..., Materials], *arguments: object) -> Callable[[], Materials]:
    """Return a call to be made when its case's turn comes: its matrices are copies."""
    return lambda: make(*arguments)


def _depths(workspace: Workspace) -> dict[str, int]:
    return {name: source.depth for name, source in workspace.config.candidates.sources.items()}


def _share(depth: int, share: float) -> int:
    return max(1, round(depth * share))
