"""One request from the command line: the path that `rankhouse serve` answers with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ranking.serving.request import ItemId, UserId

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace


@dataclass(frozen=True)
class Recommendation:
    """One item of an answer; `title` is empty where the data has none."""

    rank: int
    item: ItemId
    title: str
    score: float


@dataclass(frozen=True)
class Answer:
    """What a user gets. `known` is False where nothing is online about the user: then these are popular items."""

    user: UserId
    known: bool
    items: list[Recommendation]


def recommend(workspace: Workspace, user: str, k: int = 10) -> Answer:
    """Return the k best items for a user, given as text, from the online store.

    Raises DataError for a k out of range or an id of the wrong type, MissingError without a model, ContractError for a
    model that was trained on other columns.
    """
    from ranking.serving.clock import ServingClock
    from ranking.serving.path import RequestPath
    from ranking.serving.request import Ask

    path = RequestPath.open(workspace)
    answer, _ = path.answer(Ask(path.catalogue.user(user), k), ServingClock(workspace).now())
    return Answer(
        user=answer.user,
        known=answer.known,
        items=[
            Recommendation(rank, served.item, served.title, served.score)
            for rank, served in enumerate(answer.items, start=1)
        ],
    )
