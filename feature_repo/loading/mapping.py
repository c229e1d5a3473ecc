"""The mapping file: which files hold a data set, and what their columns and event types mean. README.md explains it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from feature_repo.columns import EVENT_TYPE, ITEM, ORIGIN, TIME, USER, VALUE
from feature_repo.config import Section, validate_yaml
from feature_repo.lake import IdType

AttributeKind = Literal["category", "number", "text"]
DEFAULT_TYPE = "interaction"
_RESERVED = {USER, ITEM, TIME, EVENT_TYPE, VALUE, ORIGIN, "title", "categories", "released_at", "fault"}


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError("expected a time zone such as Europe/Berlin") from None
    return name


def _attribute_name(name: str) -> str:
    if name in _RESERVED or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise ValueError("expected letters, digits and underscores, and a name that the lake does not use itself")
    return name


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _spelled_out(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Words = Annotated[list[str], BeforeValidator(_listed)]


class TimeForm(Section):
    """How times are written: whole or fractional numbers of a unit since 1970, or texts of a format; else ISO 8601."""

    unit: Literal["s", "ms", "us", "ns"] | None = None
    format: str | None = None
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if self.unit is not None and self.format is not None:
            raise ValueError("give `unit` or `format`, not both")
        return self


class Files(Section):
    """Files of one table, relative to the mapping file, and how a CSV file among them is written."""

    files: Annotated[Words, Field(min_length=1)]
    format: Literal["csv", "json", "parquet"] | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=4)] | None = None
    quoted: bool = True
    encoding: Literal["utf-8", "utf-16", "latin-1"] = "utf-8"
    names: Annotated[list[str], Field(min_length=1)] | None = None
    nulls: tuple[str, ...] = ("", "NULL", "null", "NaN", "nan", "None", "\\N")
    time: TimeForm = TimeForm()


class EventColumns(Section):
    """The file's columns; where nothing is said, the column of the same name if there is one."""

    user_id: str = USER
    item_id: str = ITEM
    event_timestamp: str = TIME
    event_type: str | None = None
    value: str | None = None
    origin: str | None = None


class EventRole(Section):
    """One event type: label weight (0: no label), whether it means seen, and which raw types and values it covers."""

    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    consuming: bool | None = None
    raw_types: Words | None = Field(default=None, alias="from")
    min_value: float | None = None

    @property
    def is_consuming(self) -> bool:
        return self.weight > 0 if self.consuming is None else self.consuming


class EventsMapping(Files):
    columns: EventColumns = EventColumns()
    type: str | None = None
    types: dict[str, EventRole] = Field(default_factory=dict)
    ignore: Words = Field(default_factory=list)
    on_blank_id: Literal["error", "skip"] = "error"

    @model_validator(mode="after")
    def _has_a_label(self) -> Self:
        if self.type is not None and self.columns.event_type is not None:
            raise ValueError("give `type` or `columns.event_type`, not both")
        if self.types and not any(role.weight > 0 for role in self.types.values()):
            raise ValueError("give at least one event type a `weight` above 0: it is the label")
        return self


class Attribute(Section):
    """A user or item attribute: its kind, and the file's column where that has another name."""

    kind: AttributeKind
    column: str | None = None


Attributes = dict[Annotated[str, AfterValidator(_attribute_name)], Annotated[Attribute, BeforeValidator(_spelled_out)]]


class UserColumns(Section):
    user_id: str = USER
    event_timestamp: str | None = None


class ItemColumns(Section):
    item_id: str = ITEM
    event_timestamp: str | None = None
    title: str | None = None
    categories: str | None = None
    released_at: str | None = None


class UsersMapping(Files):
    columns: UserColumns = UserColumns()
    attributes: Attributes = Field(default_factory=dict)
    on_duplicate: Literal["error", "keep_one"] = "error"


class ItemsMapping(Files):
    columns: ItemColumns = ItemColumns()
    attributes: Attributes = Field(default_factory=dict)
    on_duplicate: Literal["error", "keep_one"] = "error"
    separator: Annotated[str, Field(min_length=1)] | None = None
    released: TimeForm = TimeForm()


class IdTypes(Section):
    user_id: IdType | None = None
    item_id: IdType | None = None


class Mapping(Section):
    """A whole mapping file."""

    name: Annotated[str, Field(min_length=1)]
    events: EventsMapping
    users: UsersMapping | None = None
    items: ItemsMapping | None = None
    id_type: IdTypes = IdTypes()
    allow_repeats: bool | None = None


def load_mapping(path: Path) -> Mapping:
    """Read and validate a mapping file; raise ConfigError that names the key, with a near match for an unknown one."""
    return validate_yaml(path, Mapping)
