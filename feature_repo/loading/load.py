"""`load_source`: from a directory, a mapping file or the word `synthetic` to rows in the lake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.columns import EVENT_TYPE, TIME
from feature_repo.config import Config, load_config
from feature_repo.errors import DataError
from feature_repo.lake import IdType, Lake, Manifest, new_connection, parquet
from feature_repo.loading.append import append
from feature_repo.loading.compatible import check_same_data_set
from feature_repo.loading.dataset import Dataset
from feature_repo.loading.duplicates import settle_duplicates
from feature_repo.loading.ids import resolve_ids
from feature_repo.loading.mapped import read_mapping
from feature_repo.loading.movielens import LAYOUTS, find_layout, read_movielens
from feature_repo.loading.staging import stage, staged
from feature_repo.loading.synthetic import World, read_synthetic

if TYPE_CHECKING:
    import duckdb

SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class LoadOptions:
    """How to read a source. `wall_clock` is the time after which nothing can have happened (None: now)."""

    mapping: Path | None = None
    min_rating: float = 4.0
    world: World = field(default_factory=World)
    config: Config = field(default_factory=load_config)
    wall_clock: datetime | None = None
    on_step: Callable[[str], None] = lambda step: None


@dataclass(frozen=True)
class LoadReport:
    """What a load did: rows added per table, rows of the source that the lake had, and what the lake holds now."""

    name: str
    added: dict[str, int]
    duplicates: int
    event_types: dict[str, int]
    first: datetime
    last: datetime
    user_id_type: IdType
    item_id_type: IdType


def load_source(source: str, lake: Lake, options: LoadOptions) -> LoadReport:
    """Bring events, users and items of a source into the lake; what the lake already has is not added again.

    Raises DataError, FutureError or ConfigError before anything on disk has changed.
    """
    with new_connection(options.config.engine, spill=lake.data_dir / "spill") as connection:
        options.on_step(f"reading {source}")
        dataset = read_source(connection, source, options)
        before = lake.manifest() if lake.exists() else None
        if before is not None and any(load.fingerprint == dataset.fingerprint for load in before.loads):
            return _nothing_new(connection, lake)
        check_same_data_set(dataset, before, _lake_types(connection, lake))
        stage(connection, dataset, options.wall_clock or datetime.now(UTC))
        id_types = resolve_ids(connection, dataset, before)
        settle_duplicates(connection, dataset)
        options.on_step("appending to the lake")
        appended = append(connection, dataset, id_types, lake, _clock(options), before)
        return _report(connection, lake, appended.manifest, appended.rows, _staged_types(connection))


def read_source(connection: duckdb.DuckDBPyConnection, source: str, options: LoadOptions) -> Dataset:
    """Find out what a source is and describe its tables; raise DataError where it is nothing known."""
    if source == SYNTHETIC:
        return read_synthetic(connection, options.world, options.on_step)
    path = Path(source)
    if not path.exists():
        raise DataError(path, expected="a directory or file", got="nothing there", fix="Check the path.")
    mapping = _mapping_file(path, options.mapping)
    if mapping is not None:
        return read_mapping(connection, mapping, base=path if path.is_dir() else path.parent)
    layout = find_layout(path) if path.is_dir() else None
    if layout is not None:
        return read_movielens(connection, path, layout, options.min_rating)
    raise DataError(path, expected=_known(), got=_found(path), fix="Write a mapping file for data of your own.")


def _mapping_file(source: Path, declared: Path | None) -> Path | None:
    """The mapping that describes a source: the one declared, the source itself, or the one that lies in it."""
    if declared is not None:
        return declared
    if source.suffix in (".yaml", ".yml"):
        return source
    own = source / "mapping.yaml"
    return own if own.is_file() else None


def _lake_types(connection: duckdb.DuckDBPyConnection, lake: Lake) -> set[str]:
    if not lake.exists():
        return set()
    rows = connection.execute(f"SELECT DISTINCT {EVENT_TYPE} FROM {parquet(lake.paths('events'))}").fetchall()
    return {row[0] for row in rows}


def _known() -> str:
    movielens = "; ".join(f"{layout.name}: {', '.join(layout.files)}" for layout in LAYOUTS)
    return f"a directory with the files of a known data set ({movielens}) or with a mapping.yaml"


def _found(path: Path) -> str:
    if path.is_file():
        return "a file"
    names = sorted(entry.name for entry in path.iterdir())
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") or "an empty directory"


def _clock(options: LoadOptions) -> datetime | None:
    now = options.config.now
    if isinstance(now, datetime):
        return now
    return None if now == "end-of-log" else options.wall_clock or datetime.now(UTC)


def _nothing_new(connection: duckdb.DuckDBPyConnection, lake: Lake) -> LoadReport:
    """The report of a load whose very files and settings the lake has already."""
    added = dict.fromkeys(("events", "users", "items"), 0)
    return _report(connection, lake, lake.manifest(), added, types={})


def _staged_types(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    rows = connection.execute(f"SELECT {EVENT_TYPE}, count(*) FROM {staged('events')} GROUP BY 1 ORDER BY 2 DESC, 1")
    return dict(rows.fetchall())


def _report(
    connection: duckdb.DuckDBPyConnection, lake: Lake, manifest: Manifest, added: dict[str, int], types: dict[str, int]
) -> LoadReport:
    log = parquet(lake.paths("events"))
    first, last = connection.execute(f"SELECT min({TIME}), max({TIME}) FROM {log}").fetchone()
    return LoadReport(
        name=manifest.name,
        added=added,
        duplicates=max(sum(types.values()) - added["events"], 0),
        event_types=types,
        first=first.astimezone(UTC),
        last=last.astimezone(UTC),
        user_id_type=manifest.user_id_type,
        item_id_type=manifest.item_id_type,
    )
