"""The lake: an append-only log of events, users and items as Parquet, with DuckDB as the engine over it.

    <data dir>/lake/manifest.json            what is in the lake; replacing it is the moment a load takes effect
    <data dir>/lake/events/000001.parquet    one file per load, sorted by time, then user, then item
    <data dir>/lake/users/000001.parquet     user_id, event_timestamp (known since), attributes
    <data dir>/lake/items/000001.parquet     item_id, event_timestamp (known since), title, categories, released_at,
                                             attributes

Files that the manifest does not name do not exist for a reader, so a crash during a load changes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from feature_repo.columns import CONSUMING, EVENT_TYPE, ITEM, TARGET_WEIGHT, TIME, USER
from feature_repo.config import Config, EngineConfig, Roles
from feature_repo.errors import ContractError, MissingError, did_you_mean

if TYPE_CHECKING:
    import duckdb

TABLES = ("events", "users", "items")
JOURNAL = "journal"
POSTED_CLOCK = "clock.json"
"""Below <data dir>/journal: the latest time that posted events have moved serving to (ranking.serving.clock)."""
IdType = Literal["int64", "string"]

# The setting by which a data set says that its users come back to what they have consumed.
ALLOW_REPEATS: Final = "allow_repeats"

# When an attribute carries no time of its own it was known before the log began.
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Load:
    """One load: where it came from, what it added, the files it wrote (relative to the lake)."""

    source: str
    fingerprint: str
    rows: dict[str, int]
    files: dict[str, list[str]]


@dataclass(frozen=True)
class Manifest:
    """What the lake holds: id types, roles of the event types, attributes and their kinds, and the loads.

    `user_attributes` and `item_attributes` map a column to its kind: "category", "number" or "text".
    `settings` are the choices that every load into this lake must share (min_rating, allow_repeats).
    """

    name: str
    user_id_type: IdType
    item_id_type: IdType
    roles: dict[str, object]
    user_attributes: dict[str, str] = field(default_factory=dict)
    item_attributes: dict[str, str] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)
    loads: tuple[Load, ...] = ()

    def files(self, table: str) -> list[str]:
        """Return the table's files, oldest load first, relative to the lake."""
        return [name for load in self.loads for name in load.files.get(table, [])]


@dataclass(frozen=True)
class Lake:
    """The lake of one data directory."""

    data_dir: Path

    @property
    def root(self) -> Path:
        return self.data_dir / "lake"

    @property
    def manifest_path(self) -> Path:
        return self.root / "manifest.json"

    def exists(self) -> bool:
        return self.manifest_path.exists()

    def manifest(self) -> Manifest:
        """Read the manifest; raise MissingError where nothing was loaded yet."""
        if not self.exists():
            raise MissingError(
                self.root, expected="a lake", got="nothing loaded", fix="Run `rankhouse load SOURCE` first."
            )
        raw = json.loads(self.manifest_path.read_text(encoding="utf-8"))
        loads = tuple(Load(**load) for load in raw.pop("loads"))
        return Manifest(**raw, loads=loads)

    def commit(self, manifest: Manifest) -> None:
        """Make a manifest the current one, atomically."""
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = self.manifest_path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, self.manifest_path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let one process at a time append: an advisory lock on the lake's directory, released with the process."""
        import fcntl

        self.root.mkdir(parents=True, exist_ok=True)
        directory = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def paths(self, table: str) -> list[str]:
        return [str(self.root / name) for name in self.manifest().files(table)]

    def fingerprint(self) -> str:
        """Return a digest of everything loaded: two lakes with the same loads have the same one."""
        from hashlib import sha256

        parts = [f"{load.fingerprint}:{sorted(load.rows.items())}" for load in self.manifest().loads]
        return sha256("\n".join(parts).encode()).hexdigest()

    def roles(self, config: Config) -> Roles:
        """Return the event roles: the configuration's, or those that came with the data."""
        return self.manifest_roles() if config.events == "from-data" else config.events

    def manifest_roles(self) -> Roles:
        return Roles.model_validate(self.manifest().roles)

    def connect(self, config: Config) -> duckdb.DuckDBPyConnection:
        """Open an in-memory DuckDB with the views `events`, `users` and `items` over the lake, in UTC.

        `events` carries two derived columns: target_weight (DOUBLE, 0 where the event is no label) and
        consuming (BOOLEAN). `users` and `items` hold every version of a row with its known-since time.
        """
        connection = new_connection(config.engine, spill=self.data_dir / "spill")
        connection.execute(_events_view(self.paths("events"), self.roles(config)))
        for table in ("users", "items"):
            paths = self.paths(table)
            source = parquet(paths) if paths else _empty(table, self.manifest())
            connection.execute(f"CREATE VIEW {table} AS SELECT * FROM {source}")
        self._check_roles(connection, config)
        return connection

    def now(self, config: Config) -> datetime:
        """Return the declared clock; for a closed data set one microsecond after the last event, and after anything
        that was served: a fit may not be stamped with a time at which requests were answered without it.
        """
        from datetime import timedelta

        if config.now == "wall-clock":
            return datetime.now(UTC)
        if isinstance(config.now, datetime):
            return config.now
        posted = self.data_dir / JOURNAL / POSTED_CLOCK
        times = [self.time_range()[1]]
        if posted.exists():
            times.append(datetime.fromisoformat(json.loads(posted.read_text(encoding="utf-8"))["now"]))
        return max(times) + timedelta(microseconds=1)

    def time_range(self) -> tuple[datetime, datetime]:
        """Return the times of the first and the last event."""
        connection = new_connection(EngineConfig())
        row = connection.execute(f"SELECT min({TIME}), max({TIME}) FROM {parquet(self.paths('events'))}").fetchone()
        return row[0].astimezone(UTC), row[1].astimezone(UTC)

    def _check_roles(self, connection: duckdb.DuckDBPyConnection, config: Config) -> None:
        if config.events == "from-data":
            return
        roles = config.events
        known = {row[0] for row in connection.execute(f"SELECT DISTINCT {EVENT_TYPE} FROM events").fetchall()}
        for name in [*roles.targets, *roles.consuming]:
            if name in known:
                continue
            raise ContractError(
                "rankhouse.yaml, key events",
                expected=f"event types of the log ({', '.join(sorted(known))})",
                got=repr(name),
                fix=f"Correct the name.{did_you_mean(name, known)}",
            )


def new_connection(engine: EngineConfig, spill: Path | None = None) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB in UTC within the configured bounds."""
    import duckdb

    settings: dict[str, str | int] = {"memory_limit": engine.memory_limit}
    if engine.threads is not None:
        settings["threads"] = engine.threads
    if spill is not None:
        settings["temp_directory"] = str(spill)
    connection = duckdb.connect(config=settings)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    return connection


def quote(value: str) -> str:
    """Quote a text as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def parquet(paths: list[str]) -> str:
    """Return an SQL relation over Parquet files."""
    return f"read_parquet([{', '.join(quote(path) for path in paths)}], union_by_name = true)"


def _events_view(paths: list[str], roles: Roles) -> str:
    cases = " ".join(f"WHEN {quote(name)} THEN {weight!r}" for name, weight in roles.targets.items())
    weight = f"CASE {EVENT_TYPE} {cases} ELSE 0.0 END" if cases else "0.0"
    seen = f"{EVENT_TYPE} IN ({', '.join(map(quote, roles.consuming))})" if roles.consuming else "false"
    return (
        f"CREATE VIEW events AS SELECT *, CAST({weight} AS DOUBLE) AS {TARGET_WEIGHT}, {seen} AS {CONSUMING} "
        f"FROM {parquet(paths)}"
    )


def _empty(table: str, manifest: Manifest) -> str:
    """A table without rows for a data set that came without users or items."""
    key, id_type = (USER, manifest.user_id_type) if table == "users" else (ITEM, manifest.item_id_type)
    sql_type = "BIGINT" if id_type == "int64" else "VARCHAR"
    extra = ", NULL::VARCHAR AS title, NULL::VARCHAR[] AS categories, NULL::TIMESTAMPTZ AS released_at"
    columns = f"NULL::{sql_type} AS {key}, NULL::TIMESTAMPTZ AS {TIME}{extra if table == 'items' else ''}"
    return f"(SELECT {columns} LIMIT 0)"
