"""What each source finds, what only it finds, what it costs, and how much of the future the union holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Final

import numpy as np
from scipy import sparse

from candidate_gen.entity_table import fit_stage
from candidate_gen.pipeline import Progress, Stage, silent
from candidate_gen.relevant import Relevant, read_relevant
from candidate_gen.requested import window_end
from candidate_gen.source import CandidateSource
from candidate_gen.tally import DEPTHS, UNION_DEPTHS, Tally
from feature_repo.periods import Window
from feature_repo.workspace import Workspace

HISTORY: Final = {"0": (0, 0), "1-5": (1, 5), "6-20": (6, 20), "21+": (21, np.inf)}
DEPTH_NAMES: Final = (*map(str, DEPTHS), "all")
UNION_NAMES: Final = tuple(map(str, UNION_DEPTHS))


@dataclass(frozen=True)
class SourceReport:
    """One source on the judged users. Recall is the mean over users; `all` is the configured depth.

    `only`: share of the union's hits that no other source found. `overlap`: share of its proposals that each source
    proposes too. `coverage`: share of the items with an event that it proposes to somebody. `new`: share of its
    proposals without any event. `megabytes`: what it keeps after fitting.
    """

    depth: int
    ndcg_10: float
    recall: dict[str, float]
    only: float
    overlap: dict[str, float]
    coverage: float
    new: float
    fit_seconds: float
    score_seconds: float
    megabytes: float


@dataclass(frozen=True)
class UnionReport:
    """All sources together: candidates a user and the share of relevant items among them, the ceiling of stage two."""

    candidates: float
    recall: float


@dataclass(frozen=True)
class HistoryReport:
    """Users by the number of their events before the cut; `fewest`: the smallest union that any of them got."""

    users: int
    candidates: float
    fewest: int
    recall: float
    recall_100: dict[str, float]


@dataclass(frozen=True)
class StageReport:
    """Stage one at one cut, judged on [cut, end) by the truth protocol: users with an event before the cut.

    `items`: with an event before the cut. `union`: at the configured depths. `union_at`: every source at one depth.
    `history` counts users without an event before the cut, too. `skipped`: why a source was left out.
    """

    cut: datetime
    end: datetime
    users: int
    items: int
    sources: dict[str, SourceReport]
    union: UnionReport
    union_at: dict[str, UnionReport]
    history: dict[str, HistoryReport]
    skipped: dict[str, str]

    def as_dict(self) -> dict[str, object]:
        """Return the report as JSON values."""
        return {**asdict(self), "cut": self.cut.isoformat(), "end": self.end.isoformat()}


def report_candidates(workspace: Workspace, cut: datetime, *, progress: Progress = silent) -> StageReport:
    """Fit stage one at the cut and compare its proposals with what users took in the cut's label window.

    Writes nothing. Raises DataError where the window has no relevant item.
    """
    repeats = workspace.allow_repeats
    window = Window(cut.astimezone(UTC), window_end(workspace, cut))
    with workspace.connect() as connection:
        stage = fit_stage(workspace, connection, window.start, allow_repeats=repeats, progress=progress)
        relevant = read_relevant(connection, stage.interactions, window, allow_repeats=repeats)
    return judge(stage, relevant, window.end, progress=progress)


def judge(stage: Stage, relevant: Relevant, end: datetime, *, progress: Progress = silent) -> StageReport:
    """Report on a fitted stage; every source proposes 200 items or its configured depth, whichever is more."""
    depths = {name: max(depth, DEPTHS[-1]) for name, depth in stage.depths.items()}
    deep = replace(stage, depths=depths, score_seconds=dict.fromkeys(depths, 0.0))
    codes = stage.interactions.encode_users(relevant.users)
    tally = Tally(dict(stage.depths), relevant, stage.interactions)
    done = 0
    for pairs in deep.batches(codes):
        tally.add(pairs, done)
        done += pairs.users
        progress("judge", done, len(codes))
    recall_of = _Recall(tally)
    return StageReport(
        cut=stage.interactions.as_of,
        end=end,
        users=int(tally.warm.sum()),
        items=int(tally.old.sum()),
        sources=_sources(stage, deep.score_seconds, tally),
        union=recall_of.union(-1, tally.warm),
        union_at={name: recall_of.union(place, tally.warm) for place, name in enumerate(UNION_NAMES)},
        history={
            name: recall_of.history(list(stage.sources), (tally.history >= low) & (tally.history <= high))
            for name, (low, high) in HISTORY.items()
        },
        skipped=stage.skipped,
    )


class _Recall:
    """Means over chosen users of what a tally counted."""

    def __init__(self, tally: Tally) -> None:
        self.tally, self.relevant = tally, tally.relevant.counts

    def union(self, place: int, users: np.ndarray) -> UnionReport:
        share = self.tally.held[place] / self.relevant
        return UnionReport(_mean(self.tally.size[place], users), _mean(share, users))

    def history(self, names: list[str], users: np.ndarray) -> HistoryReport:
        at_100 = self.tally.found[:, DEPTHS.index(100)] / self.relevant
        union, sizes = self.union(-1, users), self.tally.size[-1][users]
        recalls = {name: _mean(at_100[number], users) for number, name in enumerate(names)}
        return HistoryReport(len(sizes), union.candidates, int(sizes.min()) if len(sizes) else 0, union.recall, recalls)


def _sources(stage: Stage, score_seconds: dict[str, float], tally: Tally) -> dict[str, SourceReport]:
    recall, ndcg = tally.found / tally.relevant.counts, tally.ndcg()
    proposed = np.diag(tally.both)
    hits = max(int(tally.held[-1][tally.warm].sum()), 1)
    result = {}
    for number, (name, source) in enumerate(stage.sources.items()):
        own = max(int(proposed[number]), 1)
        result[name] = SourceReport(
            depth=stage.depths[name],
            ndcg_10=_mean(ndcg[number], tally.warm),
            recall={key: _mean(recall[number, place], tally.warm) for place, key in enumerate(DEPTH_NAMES)},
            only=float(tally.alone[number] / hits),
            overlap={other: float(tally.both[number, column] / own) for column, other in enumerate(stage.sources)},
            coverage=float((tally.covered[number] & tally.old).sum() / max(tally.old.sum(), 1)),
            new=float(tally.new[number] / own),
            fit_seconds=stage.fit_seconds[name],
            score_seconds=score_seconds[name],
            megabytes=learned_bytes(source) / 1e6,
        )
    return result


def _mean(values: np.ndarray, users: np.ndarray) -> float:
    return float(values[users].mean()) if users.any() else 0.0


def learned_bytes(source: CandidateSource) -> int:
    """Return the size of the arrays and sparse matrices among a source's learned attributes, each counted once."""
    learned = list({id(value): value for name, value in vars(source).items() if name.endswith("_")}.values())
    dense = [value for value in learned if isinstance(value, np.ndarray)]
    dense += [part for matrix in learned if sparse.issparse(matrix) for part in _arrays(matrix)]
    return sum(array.nbytes for array in dense)


def _arrays(matrix: sparse.csr_array) -> list[np.ndarray]:
    csr = matrix.tocsr()
    return [csr.data, csr.indices, csr.indptr]
