"""The large log of `scripts/bench features`: users, items and events by DuckDB, written as a lake, one file per day.

Users come in sessions of a dozen events, 20 seconds apart. Popularity and activity follow power laws; nine events of
ten are impressions. The same size and seed give the same log.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from feature_repo.lake import Lake, Load, Manifest

START = datetime(2025, 1, 1, tzinfo=UTC)
ROLES = {"targets": {"purchase": 1.0, "click": 0.2}, "consuming": ["purchase"]}


@dataclass(frozen=True)
class Size:
    """How many events, users, items and days there are."""

    events: int
    users: int
    items: int
    days: int = 90

    @property
    def end(self) -> datetime:
        return START + timedelta(days=self.days)


def scaled(events: int) -> Size:
    """A hundred events per user, a thousand per item."""
    return Size(events, max(events // 100, 100), max(events // 1000, 100))


def make_lake(directory: Path, size: Size, seed: int = 0) -> Lake:
    """Write the lake below `directory` unless it is there; return it."""
    lake = Lake(directory)
    if lake.exists():
        return lake
    with duckdb.connect(config={"memory_limit": "4GB", "temp_directory": str(directory / "spill")}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        files = {"users": [_write(connection, lake, "users", _USERS, size, seed)]}
        files["items"] = [_write(connection, lake, "items", _ITEMS, size, seed)]
        files["events"] = [_write(connection, lake, "events", _EVENTS, size, seed, day) for day in range(size.days)]
    rows = {"events": size.events // size.days * size.days, "users": size.users, "items": size.items}
    manifest = Manifest(
        name="bench",
        user_id_type="int64",
        item_id_type="int64",
        roles=ROLES,
        user_attributes={"gender": "category", "country": "category"},
        item_attributes={"brand": "category", "price": "number"},
        loads=(Load("bench", f"{size} {seed}", rows, files),),
    )
    lake.commit(manifest)
    return lake


def _write(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: str, sql: str, size: Size, seed: int, day: int = 0
) -> str:
    """Run one query into one file; return its path in the lake."""
    name = f"{table}/{day + 1:06d}.parquet"
    (lake.root / table).mkdir(parents=True, exist_ok=True)
    values = {"users": size.users, "items": size.items, "rows": size.events // size.days, "seed": seed, "day": day}
    relation = connection.sql(sql, params={key: values[key] for key in values if f"${key}" in sql})
    relation.write_parquet(str(lake.root / name), compression="zstd")
    return name


_USERS = """
SELECT
    user_id,
    TIMESTAMPTZ '1970-01-01 00:00:00+00' AS event_timestamp,
    CASE WHEN hash(user_id, $seed, 'g') % 2 = 0 THEN 'F' ELSE 'M' END AS gender,
    'country ' || (hash(user_id, $seed, 'c') % 12) AS country
FROM range($users) AS users(user_id)"""

_ITEMS = """
SELECT
    item_id,
    TIMESTAMPTZ '1970-01-01 00:00:00+00' AS event_timestamp,
    'item ' || item_id AS title,
    list_distinct(['category ' || (hash(item_id, $seed, 1) % 20), 'category ' || (hash(item_id, $seed, 2) % 20)])
        AS categories,
    TIMESTAMPTZ '2024-01-01 00:00:00+00' AS released_at,
    'brand ' || (hash(item_id, $seed, 'b') % 50) AS brand,
    1.0 + hash(item_id, $seed, 'p') % 100 AS price
FROM range($items) AS items(item_id)"""

# Squares of uniform numbers: an id's density falls like one over the square root of its number.
_EVENTS = """
SELECT
    CAST(floor($users * power(u, 2)) AS BIGINT) AS user_id,
    CAST(floor($items * power(i, 2)) AS BIGINT) AS item_id,
    make_timestamptz(CAST(1735689600000000 + ($day * 86400 + begin + 20 * (row % 12)) * 1000000 AS BIGINT))
        AS event_timestamp,
    CASE WHEN k < 0.9 THEN 'impression' WHEN k < 0.98 THEN 'click' ELSE 'purchase' END AS event_type,
    CASE WHEN k >= 0.98 THEN 1.0 + hash(row, $day, $seed, 'v') % 50 END AS value,
    CAST(NULL AS VARCHAR) AS origin
FROM (
    SELECT
        row,
        hash(row // 12, $day, $seed, 't') % (86400 - 240) AS begin,
        (hash(row // 12, $day, $seed, 'u') % 1000000007) / 1000000007 AS u,
        (hash(row, $day, $seed, 'i') % 1000000007) / 1000000007 AS i,
        (hash(row, $day, $seed, 'k') % 1000000007) / 1000000007 AS k
    FROM range($rows) AS rows(row)
)
ORDER BY event_timestamp, user_id, item_id"""
