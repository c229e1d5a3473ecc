"""The items that there are, with their titles, and what is popular now: read off the lake once per load."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.columns import ITEM, TIME
from feature_repo.errors import DataError, MissingError
from feature_repo.on_demand.codes import Codes
from feature_repo.stores.number_places import NumberPlaces
from ranking.serving.request import ItemId, UserId

if TYPE_CHECKING:
    from feature_repo.lake import IdType
    from feature_repo.workspace import Workspace

MOST_POPULAR: Final = 500
_LONGEST_ID: Final = 1000
_ITEMS: Final = f"""
WITH attributes AS (SELECT {ITEM}, arg_max(title, {TIME}) AS title FROM items GROUP BY ALL),
active AS (SELECT DISTINCT {ITEM}, true AS active FROM events)
SELECT {ITEM}, title, coalesce(active, false) AS active
FROM attributes FULL JOIN active USING ({ITEM}) ORDER BY {ITEM}"""


@dataclass(frozen=True)
class Catalogue:
    """`items`: own ids, ascending; `titles`: null where there is none; `active`: has an event, bool per item."""

    workspace: Workspace
    items: pa.Array
    titles: pa.Array
    active: np.ndarray
    user_type: IdType
    item_type: IdType
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def read(cls, workspace: Workspace) -> Catalogue:
        manifest = workspace.lake.manifest()
        kind = pa.int64() if manifest.item_id_type == "int64" else pa.string()
        with workspace.connect() as connection:
            table = connection.sql(_ITEMS).to_arrow_table().combine_chunks()
        return cls(
            workspace=workspace,
            items=_one(table[ITEM]).cast(kind),
            titles=_one(table["title"]),
            active=_one(table["active"]).to_numpy(zero_copy_only=False),
            user_type=manifest.user_id_type,
            item_type=manifest.item_id_type,
        )

    def user(self, value: Any) -> UserId:
        """Return a user id in the type of the data; raises DataError for another."""
        return _parsed(value, self.user_type, "the user", "Give the user's own id.")

    def item(self, value: Any) -> ItemId:
        """Return an item id in the type of the data; raises DataError for another type, MissingError if unknown."""
        parsed = _parsed(value, self.item_type, "the item", "Give the item's own id.")
        self.check([parsed])
        return parsed

    def array(self, items: list[Any]) -> pa.Array:
        """Return distinct item ids as they are stored, ascending; raises as `item` does."""
        whole = _whole_numbers(items) if self.item_type == "int64" else None
        if whole is not None and (self.places(pa.array(whole)) >= 0).all():
            return pa.array(np.unique(whole))
        parsed = [_parsed(value, self.item_type, "the item", "Give the item's own id.") for value in items]
        self.check(parsed)
        return ascending(pa.array(parsed, self.items.type).unique())

    def check(self, items: list[ItemId]) -> None:
        """Raise MissingError for an item that the lake does not have."""
        for item, place in zip(items, self.places(pa.array(items, self.items.type)).tolist(), strict=True):
            if place < 0:
                raise MissingError(
                    "the item",
                    expected=f"one of the {len(self.items):,} items of the lake",
                    got=repr(item),
                    fix="Load it with `rankhouse load`, or correct the id.",
                )

    def places(self, items: pa.Array) -> np.ndarray:
        """Return the position of every item, -1 for an unknown one."""
        if not pa.types.is_integer(self.items.type):
            return self._codes.find(items).astype(np.int64) - 1
        if not len(self.items):
            return np.full(len(items), -1)
        missing = items.is_null().to_numpy(zero_copy_only=False) if items.null_count else False
        wanted = (items.fill_null(0) if items.null_count else items).to_numpy()
        found = self._numbers.find(wanted)
        return np.where((found == len(self.items)) | missing, -1, found)

    @cached_property
    def _numbers(self) -> NumberPlaces:
        return NumberPlaces.of(self.items.to_numpy())

    @cached_property
    def _codes(self) -> Codes:
        return Codes.of(self.items)

    def titles_of(self, items: pa.Array) -> list[str]:
        """Return the titles of known items, empty where there is none."""
        return pc.fill_null(self.titles.take(pa.array(self.places(items))), "").to_pylist()

    def explorable(self) -> pa.Array:
        """Return the items without an event; all of them where every item has one."""
        return self.items if self.active.all() else self.items.filter(pa.array(~self.active))

    def popular(self) -> tuple[pa.Array, np.ndarray]:
        """Return what is popular now, by recent target events, best first, and how popular."""
        with self._lock:
            return self._popular

    @cached_property
    def _popular(self) -> tuple[pa.Array, np.ndarray]:
        from candidate_gen.interactions import read_interactions
        from candidate_gen.popularity import RecentPopularity

        with self.workspace.connect() as connection:
            interactions = read_interactions(connection, self.workspace.now)
        nobody = pa.nulls(1, interactions.user_ids.type)
        most = min(MOST_POPULAR, len(interactions.item_ids))
        top = RecentPopularity().fit(interactions).recommend(nobody, most)
        return _one(top[ITEM]), top["score"].to_numpy()


def ascending(items: pa.Array) -> pa.Array:
    """Sort ids."""
    return items.take(pc.sort_indices(items))


def _parsed(value: Any, kind: IdType, what: str, fix: str) -> int | str:
    if kind == "int64":
        if isinstance(value, str) and value.strip().lstrip("-").isdecimal() and len(value) < 30:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63:
            return value
        raise DataError(what, expected="a whole number, as in the data", got=repr(value)[:120], fix=fix)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and len(value) <= _LONGEST_ID and not any("\ud800" <= sign <= "\udfff" for sign in value):
        return value
    raise DataError(what, expected="a text, as in the data", got=repr(value)[:120], fix=fix)


def _whole_numbers(values: list[Any]) -> np.ndarray | None:
    """Return plain integers as int64, None where there is anything else among the values."""
    if not set(map(type, values)) <= {int}:
        return None
    try:
        return np.array(values, np.int64)
    except OverflowError:
        return None


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if not isinstance(column, pa.Array) else column
