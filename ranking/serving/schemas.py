"""The bodies that HTTP requests bring and get, as pydantic models: types and bounds are declared here."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from feature_repo.config import OrderConfig, RuleConfig

Id = Annotated[StrictInt | StrictStr, Field(description="The data's own id.")]
Seed = Annotated[StrictInt, Field(ge=0, lt=1 << 63)]
Plain = StrictBool | StrictInt | float | StrictStr | None


class Body(BaseModel):
    """A body; keys that it does not declare are errors."""

    model_config = ConfigDict(extra="forbid")


class RuleBody(Body):
    """A rule of ranking/serving/rules.py with its parameters."""

    rule: StrictStr
    params: dict[str, Any] = {}

    def setting(self) -> RuleConfig:
        return RuleConfig(rule=self.rule, params=self.params)


class OrderBody(Body):
    """An order of ranking/serving/ordering.py in the place of the configured one."""

    kind: StrictStr = "none"
    params: dict[str, Any] = {}
    explore: Annotated[StrictInt, Field(ge=0, le=1000)] = 0
    pin: Annotated[list[Id], Field(max_length=100)] = []

    def setting(self) -> OrderConfig:
        return OrderConfig(kind=self.kind, params=self.params, explore=self.explore, pin=self.pin)


class RecommendBody(Body):
    """Items for a user. `items`: only these, of the caller's; `unfamiliar`: the share of new territory."""

    user: Id
    k: StrictInt = 10
    items: list[Id] | None = None
    context: dict[str, Plain] = {}
    rules: Annotated[list[RuleBody], Field(max_length=20)] = []
    order: OrderBody | None = None
    unfamiliar: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Seed = 0
    reasons: StrictBool = False


class RankBody(RecommendBody):
    """The caller's items in the order of the model; k: as many as there are."""

    k: StrictInt | None = None
    items: Annotated[list[Id], Field(min_length=1)]


class SimilarBody(Body):
    """Items like an item."""

    item: Id
    k: StrictInt = 10


class EventBody(Body):
    """Something that happened. Without a time it happened now."""

    user: Id
    item: Id
    event_type: StrictStr
    value: Annotated[float, Field(allow_inf_nan=False)] | None = None
    time: datetime | None = None
    origin: StrictStr | None = None


class EventsBody(Body):
    events: Annotated[list[EventBody], Field(min_length=1)]


class ReasonsAnswer(BaseModel):
    base: float
    families: dict[str, float]


class ItemAnswer(BaseModel):
    """`sources`: who proposed the item; `reasons` where they were asked for."""

    item: int | str
    title: str
    score: float
    sources: list[str]
    reasons: ReasonsAnswer | None = None


class RecommendAnswer(BaseModel):
    """`known` is false where nothing is online about the user: these are popular items then.

    `counts`: items by source, removed by rule, scored, returned; `ms`: milliseconds per stage.
    """

    user: int | str
    known: bool
    model: str
    items: list[ItemAnswer]
    counts: dict[str, int]
    ms: dict[str, float]


class SimilarItem(BaseModel):
    item: int | str
    title: str
    weight: float


class SimilarAnswer(BaseModel):
    item: int | str
    items: list[SimilarItem]


class EventsAnswer(BaseModel):
    """`accepted`: on disk, whatever happens next; `online`: the next response sees them; `stamp`: as of when."""

    accepted: int
    online: bool
    stamp: datetime
    ms: dict[str, float]


class ExplainAnswer(BaseModel):
    """`columns`: what moved the score most, either way; `families` sum to `score` - `base`."""

    user: int | str
    item: int | str
    title: str
    model: str
    score: float
    base: float
    families: dict[str, float]
    columns: dict[str, float]


class Status(BaseModel):
    status: str
    model: str | None = None
    problem: str | None = None


class ErrorAnswer(BaseModel):
    error: str
