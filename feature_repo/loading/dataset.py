"""What a reader hands to the loader: where the rows of each table are and how lake columns are computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from feature_repo.config import Roles
from feature_repo.lake import IdType


class Kind(Enum):
    """What a column holds; it decides the SQL type and which checks a row must pass."""

    KEY = "key"  # an id: never null
    EVENT_TIME = "event time"  # never null, between 1970 and the wall clock
    KNOWN_SINCE = "known since"  # null where the source gives no time; between 1970 and the wall clock
    RELEASED = "released"  # nullable, any time
    NUMBER = "number"
    CATEGORY = "category"
    TEXT = "text"
    LIST = "list"
    EVENT_TYPE = "event type"  # never null

    @property
    def sql_type(self) -> str:
        if self in (Kind.EVENT_TIME, Kind.KNOWN_SINCE, Kind.RELEASED):
            return "TIMESTAMPTZ"
        return {Kind.NUMBER: "DOUBLE", Kind.LIST: "VARCHAR[]"}.get(self, "VARCHAR")


@dataclass(frozen=True)
class Field:
    """One lake column: `raw` is SQL over the file's columns, `value` is SQL over `raw_<name>` (default: raw as it is).

    A `value` that is null where `raw` holds something could not be parsed. `sql_type` overrides the kind's (ids come as
    BIGINT or VARCHAR). `raw_is_text`: a `raw` of blanks is as good as null. `label` names the file's column in
    messages, `hint` says what to do about a value that can't be parsed.
    """

    name: str
    kind: Kind
    raw: str
    value: str | None = None
    sql_type: str | None = None
    raw_is_text: bool = True
    label: str = ""
    hint: str = "Mend the row and load again."

    @property
    def raw_name(self) -> str:
        return f"raw_{self.name}"


@dataclass(frozen=True)
class Scan:
    """Rows of one or more files: `relation` is an SQL relation whose columns the fields' `raw` refers to."""

    where: str
    relation: str


@dataclass(frozen=True)
class SourceTable:
    """Rows of one lake table: files, lake columns, and optionally an SQL condition over `raw_*` for rows to keep.

    `keep_one`: of several users or items with one id take the first in the order of their contents, else they are an
    error.
    """

    scans: tuple[Scan, ...]
    fields: tuple[Field, ...]
    keep: str | None = None
    keep_one: bool = False

    def names(self) -> list[str]:
        return [column.name for column in self.fields]


@dataclass(frozen=True)
class Dataset:
    """A data set before it is in the lake.

    `tables` holds "events" and, where the source has them, "users" and "items". `event_types` are those that its events
    can have, `roles` what they mean. `id_types` declares the type of user and item ids (None: found out from the rows).
    `settings` must not change between loads into one lake.
    """

    name: str
    source: str
    fingerprint: str
    tables: Mapping[str, SourceTable]
    roles: Roles
    event_types: frozenset[str]
    user_attributes: Mapping[str, str] = field(default_factory=dict)
    item_attributes: Mapping[str, str] = field(default_factory=dict)
    id_types: Mapping[str, IdType | None] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)


def fingerprint_files(paths: list[Path], settings: str) -> str:
    """Return a digest of the files' names and contents and of the settings they are read with."""
    from hashlib import file_digest, sha256

    digest = sha256(settings.encode())
    for path in sorted(paths):
        with path.open("rb") as stream:
            digest.update(f"\n{path.name}:{file_digest(stream, 'sha256').hexdigest()}".encode())
    return digest.hexdigest()
