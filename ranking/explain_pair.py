"""One recommendation explained: the pair's features as they are online, and what each adds to its score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_repo.columns import ITEM, USER
from ranking import model_store
from ranking.explain import contributions
from ranking.recommend import recommend
from ranking.service import service_columns

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace


@dataclass(frozen=True)
class Share:
    """One column of the pair: its value as text (empty: null) and what it adds to the score."""

    name: str
    value: str
    adds: float


@dataclass(frozen=True)
class Explanation:
    """score = base + the sum of the families = base + the sum of the columns; the largest come first."""

    user: int | str
    item: int | str
    model: str
    score: float
    base: float
    families: dict[str, float]
    columns: list[Share]


def explain_pair(workspace: Workspace, user: str, item: str | None = None) -> Explanation:
    """Explain the current model's score of a user and an item (default: what it recommends first), ids as text.

    Raises DataError for an id of the wrong type, MissingError without a model or for an unknown item, ContractError for
    a changed service.
    """
    from feature_repo.store import online_features
    from ranking.serving.catalogue import Catalogue

    manifest = model_store.read_manifest(workspace)
    model = model_store.load(workspace, service_columns(workspace, manifest.service))
    catalogue = Catalogue.read(workspace)
    user_id = catalogue.user(user)
    item_id = recommend(workspace, user, 1).items[0].item if item is None else catalogue.item(item)
    pair = pa.table({USER: pa.array([user_id]), ITEM: pa.array([item_id])})
    features = online_features(workspace, pair, manifest.service)
    explained = contributions(model, features)
    families = {name: float(values[0]) for name, values in explained.by_family().items()}
    order = np.argsort(-np.abs(explained.values[0]), kind="stable")
    values = features.to_pylist()[0]
    return Explanation(
        user=user_id,
        item=item_id,
        model=manifest.name,
        score=float(model.score(features)[0]),
        base=float(explained.base[0]),
        families=dict(sorted(families.items(), key=lambda entry: -abs(entry[1]))),
        columns=[
            Share(name, _text(values[name]), float(explained.values[0, place]))
            for place in order
            for name in [explained.names[place]]
        ],
    )


def _text(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
