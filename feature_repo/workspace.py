"""One data directory with its configuration: what every command and every stage opens first."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo import data_dir as data_dirs
from feature_repo.config import DEFAULT_PATH, Config, load_config
from feature_repo.lake import ALLOW_REPEATS, Lake
from feature_repo.periods import Periods, resolve_periods

if TYPE_CHECKING:
    import duckdb

CONFIG_ENV = "RANKHOUSE_CONFIG"


@dataclass(frozen=True)
class Workspace:
    """A data directory and the configuration that reads it.

    <data dir>/lake/           the log (feature_repo.lake)
    <data dir>/features/VIEW/  Parquet of one feature view, the entity table among them
    <data dir>/models/NAME/    trained rankers
    <data dir>/registry.db, online_store.db, clock.json
    """

    data_dir: Path
    config: Config
    config_path: Path = DEFAULT_PATH

    @classmethod
    def open(cls, data_dir: Path | None = None, config_path: Path | None = None) -> Workspace:
        """Open a data directory (default: RANKHOUSE_DATA_DIR, else the repo's own) with a configuration file.

        Both are exported as environment variables, so that Feast, which reads feature_store.yaml and the definitions
        by itself, sees the same ones.
        """
        directory = Path(data_dir) if data_dir is not None else data_dirs.data_dir()
        path = Path(config_path or os.environ.get(CONFIG_ENV, DEFAULT_PATH))
        workspace = cls(directory.absolute(), load_config(path), path.absolute())
        workspace.export()
        return workspace

    def export(self) -> None:
        """Point Feast's configuration and definitions at this workspace."""
        os.environ[data_dirs.ENV] = str(self.data_dir)
        os.environ[CONFIG_ENV] = str(self.config_path)

    @property
    def lake(self) -> Lake:
        return Lake(self.data_dir)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Open DuckDB over the lake: views `events`, `users`, `items` (see Lake.connect)."""
        return self.lake.connect(self.config)

    @property
    def allow_repeats(self) -> bool:
        """Whether what a user has consumed is recommended again: the configuration says so, or the data set does."""
        return self.config.allow_repeats or bool(self.lake.manifest().settings.get(ALLOW_REPEATS))

    @cached_property
    def now(self) -> datetime:
        """The declared clock, read once per workspace."""
        return self.lake.now(self.config)

    @cached_property
    def periods(self) -> Periods:
        with self.connect() as connection:
            return resolve_periods(connection, self.config, self.now)

    def feature_path(self, view: str) -> Path:
        """The folder that holds a view's Parquet files."""
        return self.data_dir / "features" / view

    @property
    def models_path(self) -> Path:
        return self.data_dir / "models"
