"""Lists against the truth: the metrics of one ranking, and of two on parts of the users and of the relevant items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.columns import RANK
from ranking.beyond_accuracy import Catalogue, beyond_accuracy, read_catalogue
from ranking.comparison import difference
from ranking.evaluation import UNION, Line, Part
from ranking.hits import Hits
from ranking.metrics import per_user, recall
from ranking.segments import ITEMS, ItemClass, Segment, attribute_segments, history_segments, item_classes
from ranking.truth import Truth

if TYPE_CHECKING:
    import duckdb

    from feature_repo.workspace import Workspace

DEPTHS: Final = (20, 50, 100)
Values = dict[str, np.ndarray]
"""One value per judged user, by metric."""


@dataclass(frozen=True)
class Split:
    """How a window's truth is taken apart: the items as known at its cut, segments of users, classes of items."""

    catalogue: Catalogue
    users: list[Segment]
    items: list[ItemClass]


def read_split(
    workspace: Workspace, connection: duckdb.DuckDBPyConnection, truth: Truth, by: Sequence[str] = ()
) -> Split:
    """Read segments by length of history and by the user attributes named; raise DataError for an unknown one."""
    catalogue = read_catalogue(connection, truth.window.start)
    users = history_segments(connection, truth)
    for attribute in by:
        users += attribute_segments(workspace, connection, truth, attribute)
    return Split(catalogue, users, item_classes(catalogue))


def score_lists(lists: pa.Table, truth: Truth, k: int) -> Values:
    """Return every metric of every judged user for lists with user_id, item_id and rank."""
    return per_user(_hits(lists, truth, k), truth.relevant, k)


def score_hits(hits: Hits, truth: Truth, k: int) -> Values:
    """Return every metric of every judged user for the hits of a ranking."""
    return per_user(hits.matrix(max(k, *DEPTHS)), truth.relevant, k)


def line(name: str, ranking: Hits, values: Values, truth: Truth, split: Split, k: int) -> Line:
    """Return the means of a ranking, with what its lists are like apart from being right."""
    hits = ranking.matrix(max(k, *DEPTHS))
    recalls = {str(at): float(recall(hits, truth.relevant, at).mean()) for at in DEPTHS}
    recalls["all"] = float(recall(hits, truth.relevant, hits.shape[1]).mean())
    metrics: dict[str, float | None] = {metric: float(value.mean()) for metric, value in values.items()}
    return Line(name, metrics | beyond_accuracy(ranking.shown, truth, split.catalogue, k), recalls)


def with_captured(lines: list[Line], k: int) -> list[Line]:
    """Add `captured@k`: recall in the first k as a share of the recall of everything that stage one proposes."""
    ceiling = next(line for line in lines if line.name == UNION).recalls["all"]

    def share(line: Line) -> float:
        return line.metrics[f"recall@{k}"] / ceiling if ceiling else 0.0

    return [replace(line, metrics=line.metrics | {f"captured@{k}": share(line)}) for line in lines]


def parts(truth: Truth, split: Split, ours: Hits, theirs: Hits, *, against: str, k: int, seed: int) -> list[Part]:
    """Compare two rankings on every segment of users, and on the relevant items of every class.

    On a class of items only its items count as relevant, and users who have none of them are left out.
    """
    found = []
    whole = score_hits(ours, truth, k), score_hits(theirs, truth, k)
    for segment in split.users:
        one, two = ({name: value[segment.chosen] for name, value in values.items()} for values in whole)
        found.append(_part(segment.by, segment.name, one, two, against, k, seed))
    for item_class in split.items:
        some = of_items(truth, split.catalogue, item_class)
        if len(some.users):
            users = truth.position(some.users)
            one, two = (score_hits(hits.on(item_class.chosen, users), some, k) for hits in (ours, theirs))
            found.append(_part(ITEMS, item_class.name, one, two, against, k, seed))
    return found


def of_items(truth: Truth, catalogue: Catalogue, item_class: ItemClass) -> Truth:
    """Return the truth in which only the items of a class are relevant."""
    kept = item_class.chosen[catalogue.places(truth.items)]
    users, user = np.unique(truth.user[kept], return_inverse=True)
    items = truth.items.filter(pa.array(kept))
    return replace(truth, users=truth.users.take(pa.array(users)), user=user, items=items)


def _part(by: str, name: str, ours: Values, theirs: Values, against: str, k: int, seed: int) -> Part:
    metrics = [f"ndcg@{k}", f"recall@{k}"]
    one, two = ({metric: float(values[metric].mean()) for metric in metrics} for values in (ours, theirs))
    found = difference(ours, theirs, metrics[0], against=against, seed=seed)
    return Part(by, name, len(ours[metrics[0]]), one, two, found)


def _hits(lists: pa.Table, truth: Truth, k: int) -> np.ndarray:
    return truth.hits(lists, max(pc.max(lists[RANK]).as_py() or 0, k, *DEPTHS))
