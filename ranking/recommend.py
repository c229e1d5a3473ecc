"""Requests from the command line, for one user or for all: the path that `rankhouse serve` answers with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from candidate_gen.pipeline import Progress, silent
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


@dataclass(frozen=True)
class Written:
    """What a batch wrote."""

    users: int
    rows: int


def recommend_all(workspace: Workspace, out: Path, k: int = 10, *, progress: Progress = silent) -> Written:
    """Write the k best items of every user of the log to a Parquet file: user_id, item_id, rank, score.

    A user's list is the one that a single request gets. Raises as `recommend` does; a rule that needs the context of a
    request is a DataError.
    """
    from feature_repo.stores.settings import available_cores
    from ranking.export import write_batches
    from ranking.serving.batch import all_users, recommend_many
    from ranking.serving.clock import ServingClock
    from ranking.serving.memory import keep_memory
    from ranking.serving.path import RequestPath

    keep_memory()
    path, users = RequestPath.open(workspace), all_users(workspace)
    path.hold()
    workers = workspace.config.engine.threads or available_cores()
    lists = recommend_many(path, users, k, ServingClock(workspace).now(), workers=workers, progress=progress)
    return Written(len(users), write_batches(lists, out))
