"""What a caller asks for and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from feature_repo.config import OrderConfig, RuleConfig

UserId = int | str
ItemId = int | str

STORED: Final = "stored"
NEIGHBOURS: Final = "neighbours"
POPULAR: Final = "popular"
EXPLORATION: Final = "exploration"
CALLER: Final = "caller"


@dataclass(frozen=True)
class Ask:
    """One request. `items`: score these and retrieve nothing; `rules` and `order` add to and replace the configured.

    `unfamiliar`: the share of the list that goes to the half of the candidates that is least like the user's history.
    """

    user: UserId
    k: int
    items: tuple[ItemId, ...] | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    rules: tuple[RuleConfig, ...] = ()
    order: OrderConfig | None = None
    unfamiliar: float | None = None
    seed: int = 0
    reasons: bool = False


@dataclass(frozen=True)
class Reasons:
    """Why an item scored as it did: what each family of features added, largest move first, and the base score."""

    base: float
    families: dict[str, float]


@dataclass(frozen=True)
class Served:
    """One item of an answer; `sources`: who proposed it; `title` is empty where the data has none."""

    item: ItemId
    title: str
    score: float
    sources: tuple[str, ...]
    reasons: Reasons | None = None


@dataclass(frozen=True)
class Answer:
    """What a user gets. `known` is False where nothing is online about the user: then these are popular items.

    `counts`: items by source, removed by rule, scored and returned; `ms`: milliseconds per stage.
    """

    user: UserId
    known: bool
    model: str
    items: list[Served]
    counts: dict[str, int]
    ms: dict[str, float]
