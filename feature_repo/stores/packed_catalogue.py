"""What the SQLite file under the packed store lists: its views, the schemas of their records, their newest times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from feature_repo.stores.packed import Layout
from feature_repo.stores.packed_keys import KeyCodec

TABLE: Final = "view_"
CATALOGUE: Final = """
CREATE TABLE IF NOT EXISTS views (
    number INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    keys TEXT NOT NULL,
    layout INTEGER NOT NULL,
    changes INTEGER NOT NULL DEFAULT 0,
    UNIQUE (project, name)
);
CREATE TABLE IF NOT EXISTS layouts (id INTEGER PRIMARY KEY, fields TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS newest (name TEXT PRIMARY KEY, time BLOB NOT NULL);
"""


@dataclass(frozen=True)
class ViewTable:
    """A view in the catalogue: its table's number, key codec, newest layout and count of write transactions."""

    number: int
    keys: KeyCodec
    layout: int
    changes: int

    @property
    def table(self) -> str:
        return f"{TABLE}{self.number}"


@dataclass(frozen=True)
class Catalogue:
    """What one snapshot of the file holds: views by (project, name), layouts by id."""

    views: dict[tuple[str, str], ViewTable]
    layouts: dict[int, Layout]
