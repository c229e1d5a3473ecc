"""What is otherwise than configured, case by case: columns, rows and objectives that need nothing read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from feature_repo.config import RankerConfig
from ranking.families import SOURCE, columns_by_family
from ranking.subsets import some_candidates, some_columns, some_examples, within_depths
from ranking.train import Materials

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace
    from ranking.ranker import Judge

OBJECTIVES: Final = ("lambdarank", "rank_xendcg", "binary", "regression", "linear", "logistic")
DEPTH_SHARES: Final = (0.25, 0.5)
Against = Literal["everything", "everything, for the same users", "the best single source"]


@dataclass(frozen=True)
class Case:
    """One thing that is otherwise than configured; `make` gives what to train on, when it is this case's turn.

    `lists`: the lists that are scored, where they are not those that stopped the training. `against`: what the outcome
    is compared with; lists of another window have no other standard than that window's best single source.
    """

    kind: str
    name: str
    make: Callable[[], Materials]
    config: RankerConfig
    lists: Callable[[Materials], Judge] | None = None
    against: Against = "everything"


Cases = Iterator[Case]


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


def by_family(workspace: Workspace, materials: Materials, families: dict[str, str]) -> Cases:
    for name, columns in columns_by_family(materials.encoding.names, families).items():
        make = _later(without_columns, materials, columns)
        yield Case("families", f"without the columns of {name}", make, workspace.config.ranker)


def by_source(workspace: Workspace, materials: Materials, families: dict[str, str]) -> Cases:
    depths = _depths(workspace)
    if len(depths) < 2:
        return
    places = columns_by_family(materials.encoding.names, families)
    for source in depths:
        others = {name: depth for name, depth in depths.items() if name != source}

        def make(source: str = source, others: dict[str, int] = others) -> Materials:
            return without_columns(with_depths(materials, others), places.get(SOURCE + source, []))

        yield Case("sources", f"without {source} and what it alone proposes", make, workspace.config.ranker)


def by_cut(workspace: Workspace, materials: Materials, families: dict[str, str]) -> Cases:
    total = int(materials.cuts.max()) + 1
    for count in range(1, total):
        rows = (materials.cuts >= total - count)[materials.train.groups.number()]

        def make(rows: np.ndarray = rows) -> Materials:
            return replace(materials, train=some_examples(materials.train, rows))

        yield Case("cuts", f"the last {count} of {total} cuts", make, workspace.config.ranker)


def by_depth(workspace: Workspace, materials: Materials, families: dict[str, str]) -> Cases:
    depths = _depths(workspace)
    for share in DEPTH_SHARES:
        fewer = {source: _share(depth, share) for source, depth in depths.items()}
        make = _later(with_depths, materials, fewer)
        yield Case("depth", f"every source {share:g} as deep", make, workspace.config.ranker)
    for source, depth in depths.items():
        make = _later(with_depths, materials, depths | {source: _share(depth, 0.5)})
        yield Case("depth", f"{source} half as deep", make, workspace.config.ranker)


def by_objective(workspace: Workspace, materials: Materials, families: dict[str, str]) -> Cases:
    for objective in OBJECTIVES:
        if workspace.config.ranker.objectives != [objective]:
            config = workspace.config.ranker.model_copy(update={"objective": objective, "blend": [], "estimator": None})
            yield Case("objectives", f"{objective} alone", lambda: materials, config)


def _later(make: Callable[..., Materials], *arguments: object) -> Callable[[], Materials]:
    """Return a call to be made when its case's turn comes: its matrices are copies."""
    return lambda: make(*arguments)


def _depths(workspace: Workspace) -> dict[str, int]:
    return {name: source.depth for name, source in workspace.config.candidates.sources.items()}


def _share(depth: int, share: float) -> int:
    return max(1, round(depth * share))
