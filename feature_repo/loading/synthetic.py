"""The synthetic world as a data set: `rankhouse load synthetic`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from feature_repo.columns import EVENT_TYPE, ITEM, ORIGIN, TIME, USER, VALUE
from feature_repo.config import Roles
from feature_repo.errors import ConfigError
from feature_repo.loading.dataset import Dataset, Field, Kind, Scan, SourceTable
from feature_repo.loading.days import DAY_US, Day, generate_days
from feature_repo.loading.world import (
    BRANDS,
    CATEGORIES,
    COUNTRIES,
    GENDERS,
    Population,
    World,
    build_population,
    titles,
)

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

START = datetime(2022, 1, 3, tzinfo=UTC)  # a Monday
EVENT_TYPES = ("impression", "click", "purchase")
ROLES = Roles(targets={"purchase": 1.0, "click": 0.2}, consuming=["purchase"])
_START_US = int(START.timestamp()) * 1_000_000
_MOST_DAYS = 1000  # the world must end before today


def read_synthetic(
    connection: duckdb.DuckDBPyConnection, world: World, on_step: Callable[[str], None] = lambda step: None
) -> Dataset:
    """Describe a synthetic world; its events are generated day by day while they are read, each day announced."""
    _check(world)
    population = build_population(world)
    connection.register("world_events", _event_reader(world, population, on_step))
    connection.register("world_users", _user_table(world, population))
    connection.register("world_items", _item_table(world, population))
    settings = {"users": world.users, "items": world.items, "days": world.days, "seed": world.seed}
    return Dataset(
        name="synthetic",
        source="synthetic",
        fingerprint=sha256(f"synthetic 1 {settings} {world.last_day}".encode()).hexdigest(),
        tables={
            "events": _table("world_events", _EVENT_KINDS),
            "users": _table("world_users", _USER_KINDS),
            "items": _table("world_items", _ITEM_KINDS),
        },
        roles=ROLES,
        event_types=frozenset(EVENT_TYPES),
        user_attributes={"gender": "category", "age": "number", "country": "category"},
        item_attributes={"brand": "category", "price": "number"},
        id_types={USER: "int64", ITEM: "int64"},
        settings=settings,
    )


def _check(world: World) -> None:
    for name, least, most in (("users", 2, 10**8), ("items", 20, 10**8), ("days", 1, _MOST_DAYS), ("seed", 0, 2**63)):
        given = getattr(world, name)
        if not least <= given <= most:
            raise ConfigError(f"--{name}", expected=f"{least} to {most}", got=str(given), fix="Choose another number.")


_EVENT_KINDS = {
    USER: Kind.KEY,
    ITEM: Kind.KEY,
    TIME: Kind.EVENT_TIME,
    EVENT_TYPE: Kind.EVENT_TYPE,
    VALUE: Kind.NUMBER,
    ORIGIN: Kind.CATEGORY,
}
_USER_KINDS = {
    USER: Kind.KEY,
    TIME: Kind.KNOWN_SINCE,
    "gender": Kind.CATEGORY,
    "age": Kind.NUMBER,
    "country": Kind.CATEGORY,
}
_ITEM_KINDS = {
    ITEM: Kind.KEY,
    TIME: Kind.KNOWN_SINCE,
    "title": Kind.TEXT,
    "categories": Kind.LIST,
    "released_at": Kind.RELEASED,
    "brand": Kind.CATEGORY,
    "price": Kind.NUMBER,
}


def _table(view: str, kinds: dict[str, Kind]) -> SourceTable:
    def column(name: str, kind: Kind) -> Field:
        return Field(name, kind, name, sql_type="BIGINT" if kind is Kind.KEY else None, raw_is_text=False)

    fields = tuple(column(name, kind) for name, kind in kinds.items())
    return SourceTable((Scan("the synthetic world", view),), fields)


def _event_reader(world: World, population: Population, on_step: Callable[[str], None]) -> pa.RecordBatchReader:
    import pyarrow as pa

    dictionary = pa.dictionary(pa.int8(), pa.string())
    schema = pa.schema(
        {
            USER: pa.int64(),
            ITEM: pa.int64(),
            TIME: pa.timestamp("us", tz="UTC"),
            EVENT_TYPE: dictionary,
            VALUE: pa.float64(),
            ORIGIN: dictionary,
        }
    )
    return pa.RecordBatchReader.from_batches(schema, _batches(world, population, schema, on_step))


def _batches(
    world: World, population: Population, schema: pa.Schema, on_step: Callable[[str], None]
) -> Iterator[pa.RecordBatch]:
    for number, day in enumerate(generate_days(world, population), start=1):
        on_step(f"day {number} of {world.last_day}")
        yield _batch(day, schema, end=world.last_day * DAY_US)


def _batch(day: Day, schema: pa.Schema, end: int) -> pa.RecordBatch:
    """One day as Arrow; what would happen after the world's end has not happened."""
    import pyarrow as pa

    keep = day.time < end
    value = day.value[keep]
    columns = [
        pa.array(day.user[keep] + 1),
        pa.array(day.item[keep] + 1),
        pa.array(day.time[keep] + _START_US, pa.timestamp("us", tz="UTC")),
        pa.DictionaryArray.from_arrays(pa.array(day.event_type[keep]), pa.array(EVENT_TYPES)),
        pa.array(value, mask=np.isnan(value)),
        pa.DictionaryArray.from_arrays(
            pa.array(day.recommended[keep].astype(np.int8)), pa.array(["organic", "recommended"])
        ),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _times(arrival_days: np.ndarray) -> pa.Array:
    import pyarrow as pa

    seconds = (arrival_days * 86_400).astype(np.int64)
    return pa.array(seconds * 1_000_000 + _START_US, pa.timestamp("us", tz="UTC"))


def _user_table(world: World, population: Population) -> pa.Table:
    """Users who have arrived by the last day loaded."""
    import pyarrow as pa

    users = population.users
    number = np.flatnonzero(users.arrival < world.last_day)
    return pa.table(
        {
            USER: number + 1,
            TIME: _times(users.arrival[number]),
            "gender": np.array(GENDERS)[users.gender[number]],
            "age": users.age[number].astype(float),
            "country": np.array(COUNTRIES)[users.country[number]],
        }
    )


def _item_table(world: World, population: Population) -> pa.Table:
    """Items that have arrived by the last day loaded."""
    import pyarrow as pa

    items = population.items
    number = np.flatnonzero(items.arrival < world.last_day)
    names = np.array([*CATEGORIES, ""])
    second = items.second_category[number]
    flat = np.stack([names[items.category[number]], names[second]], axis=1)
    has = np.stack([np.ones(len(number), bool), second >= 0], axis=1)
    offsets = np.concatenate([[0], np.cumsum(has.sum(axis=1))]).astype(np.int32)
    brands = np.array([f"brand {code:02}" for code in range(BRANDS)])
    return pa.table(
        {
            ITEM: number + 1,
            TIME: _times(items.arrival[number]),
            "title": pa.array(titles(world.seed, world.items)).take(pa.array(number)),
            "categories": pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat[has])),
            "released_at": _times(items.arrival[number]),
            "brand": brands[items.brand[number]],
            "price": items.price[number],
        }
    )
