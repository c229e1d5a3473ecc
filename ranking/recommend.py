"""One request: the user's candidates and their features from the online store, scored and ordered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_repo.columns import ITEM, USER
from feature_repo.errors import DataError
from feature_repo.first_stage import CANDIDATE_ITEMS
from ranking import model_store
from ranking.model_store import RankingModel
from ranking.order import EMPTY, Groups, top_rows
from ranking.service import service_columns

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

UserId = int | str


@dataclass(frozen=True)
class Recommendation:
    """One item of an answer; `title` is empty where the data has none."""

    rank: int
    item: UserId
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
    user_id = parse_user(workspace, user)
    check_k(workspace, k)
    manifest = model_store.read_manifest(workspace)
    model = model_store.load(workspace, service_columns(workspace, manifest.service))
    items = _candidates(workspace, user_id)
    if len(items):
        chosen, scores = _rank(workspace, model, user_id, items, k)
    else:
        chosen, scores = _popular(workspace, k)
    titles = _titles(workspace, chosen)
    return Answer(
        user=user_id,
        known=len(items) > 0,
        items=[
            Recommendation(rank, item, titles.get(item, ""), float(score))
            for rank, (item, score) in enumerate(zip(chosen.to_pylist(), scores, strict=True), start=1)
        ],
    )


def parse_user(workspace: Workspace, user: str) -> UserId:
    """Return the user id in the type of the data."""
    if workspace.lake.manifest().user_id_type == "string":
        return user
    try:
        return int(user)
    except ValueError:
        raise DataError(
            "the user", expected="a whole number, as in the data", got=repr(user), fix="Give the user's own id."
        ) from None


def check_k(workspace: Workspace, k: int) -> None:
    """Raise DataError for a k that stage one can't fill."""
    most = sum(source.depth for source in workspace.config.candidates.sources.values())
    if 1 <= k <= most:
        return
    raise DataError(
        "k", expected=f"1 to {most}, as many items as all sources propose", got=str(k), fix="Give another k, or raise "
        "`depth` under `candidates` in rankhouse.yaml and run `rankhouse refresh`.",
    )  # fmt: skip


def _candidates(workspace: Workspace, user: UserId) -> pa.Array:
    """Return the user's candidate items, ascending; empty where nothing is online."""
    from feature_repo.services import RETRIEVAL
    from feature_repo.store import open_store

    store = open_store(workspace)
    service = store.get_feature_service(RETRIEVAL)
    found = store.get_online_features(features=service, entity_rows=[{USER: user}]).to_dict()
    kind = pa.int64() if workspace.lake.manifest().item_id_type == "int64" else pa.string()
    return pa.array(sorted(found[CANDIDATE_ITEMS][0] or []), kind)


def _rank(
    workspace: Workspace, model: RankingModel, user: UserId, items: pa.Array, k: int
) -> tuple[pa.Array, np.ndarray]:
    from feature_repo.store import online_features

    pairs = pa.table({USER: pa.array([user] * len(items)), ITEM: items})
    scores = model.score(online_features(workspace, pairs, model.manifest.service))
    best = top_rows(scores, Groups(np.array([len(items)])), k)[0]
    best = best[best != EMPTY]
    return items.take(pa.array(best)), scores[best]


def _popular(workspace: Workspace, k: int) -> tuple[pa.Array, np.ndarray]:
    """Return the items that are popular now, by recent target events."""
    from candidate_gen.interactions import read_interactions
    from candidate_gen.popularity import RecentPopularity

    with workspace.connect() as connection:
        interactions = read_interactions(connection, workspace.now)
    nobody = pa.nulls(1, interactions.user_ids.type)
    top = RecentPopularity().fit(interactions).recommend(nobody, k)
    return top[ITEM].combine_chunks(), top["score"].to_numpy()


def _titles(workspace: Workspace, items: pa.Array) -> dict[UserId, str]:
    with workspace.connect() as connection:
        connection.register("chosen", pa.table({ITEM: items}))
        rows = connection.execute(
            f"SELECT {ITEM}, arg_max(title, event_timestamp) FROM items SEMI JOIN chosen USING ({ITEM}) GROUP BY {ITEM}"
        ).fetchall()
    return {item: title for item, title in rows if title}
