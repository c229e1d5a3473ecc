"""The request path that serves now; a newly promoted model, a load or a refresh is taken over behind it."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb
from lightgbm.basic import LightGBMError

from feature_repo.errors import RankhouseError
from ranking.model_store import CURRENT
from ranking.serving.path import RequestPath

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

POLL_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


@dataclass
class Current:
    """Opens the path again when `models/current`, the lake's manifest or the registry changed.

    The old path answers until the new one is ready; where the new one can't be opened the old one stays, and `problem`
    says why.
    """

    workspace: Workspace
    on_change: Callable[[], None] = lambda: None
    path: RequestPath | None = None
    problem: str | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _seen: tuple = ()
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Open the path, then watch."""
        self.refresh()
        self._thread = threading.Thread(target=self._watch, name="current-model", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def refresh(self) -> None:
        """Open the path anew where something changed; never raises for what a user can mend, a broken file among it."""
        seen = self._marks()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            workspace = type(self.workspace)(self.workspace.data_dir, self.workspace.config, self.workspace.config_path)
            path = RequestPath.open(workspace)
            path.warm_up()
        except (RankhouseError, LightGBMError, sqlite3.Error, duckdb.Error) as error:
            self.problem = str(error)
            _log.error("not taken over: %s", error)
            return
        taken_over, self.path, self.problem = self.path is not None, path, None
        if taken_over:
            self.on_change()

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            try:
                self.refresh()
            except OSError as error:
                self.problem = str(error)
                _log.error("not taken over: %s", error)

    def _marks(self) -> tuple:
        root = self.workspace.data_dir
        paths = (self.workspace.models_path / CURRENT, self.workspace.lake.manifest_path, root / "registry.db")
        return tuple(_mark(path) for path in paths)


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino
