"""A share of what was served, written to the lake behind the requests: through Feast's feature logging.

    <data dir>/lake/served/SERVICE/__log_date=2024-06-01/rows-000001.parquet

A request puts a reference into a bounded queue and goes on; a thread makes rows of it and writes some requests at a
time. Where the queue is full the request is not logged, and a counter says so; at an orderly stop the queue is emptied.
A file is written under a temporary name and linked into place. Requests of users of whom nothing is online are not
logged: no model saw anything.
"""

from __future__ import annotations

import logging
import os
import queue
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from time import monotonic
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from feature_repo.errors import MissingError, RankhouseError
from ranking.serving.served_rows import LogSchema, served_table

if TYPE_CHECKING:
    from feast import FeatureService, FeatureStore

    from feature_repo.workspace import Workspace
    from ranking.serving.metrics import Metrics
    from ranking.serving.path import RequestPath, Scored

MOST_WAITING: Final = 256
MOST_ROWS: Final = 50_000
MOST_SECONDS: Final = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Target:
    """Where the requests of one path go."""

    path: RequestPath
    store: FeatureStore
    service: FeatureService
    schema: LogSchema

    @classmethod
    def of(cls, path: RequestPath) -> _Target:
        """Raises MissingError where the service that the path's model was trained on is not logged."""
        from feature_repo.store import feature_service

        store = path.reader.reader.store
        service = feature_service(store, path.model.manifest.service)
        if service.logging_config is None:
            raise MissingError(
                f"the feature service {service.name}",
                expected="one with a logging_config, since serving.log_share is above 0",
                got="none in the registry",
                fix="Run `rankhouse apply`; a service of your own needs one in feature_repo/services.py.",
            )
        return cls(path, store, service, LogSchema.of(store, service))


_Rows = tuple[_Target, pa.Table]


@dataclass
class ServedLog:
    """The log of one process. `before_write` runs before rows are written: what they were read from must be there."""

    workspace: Workspace
    metrics: Metrics
    before_write: Callable[[], object] = lambda: None
    _thread: threading.Thread | None = None
    _target: _Target | None = None
    _count: int = 0

    def __post_init__(self) -> None:
        settings = self.workspace.config.serving
        self._share, self._random = settings.log_share, random.Random(settings.log_seed)
        self._queue: queue.Queue[tuple[Scored, RequestPath] | None] = queue.Queue(MOST_WAITING)
        self._prefix = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{os.getpid()}"

    def start(self) -> None:
        if self._share > 0:
            self._thread = threading.Thread(target=self._write_on, name="served-log", daemon=True)
            self._thread.start()

    def offer(self, scored: Scored | None, path: RequestPath) -> bool:
        """Take a request in if the draw says so and there is room; never waits. Return whether it was taken."""
        if self._thread is None or scored is None or self._random.random() >= self._share:
            return False
        try:
            self._queue.put_nowait((scored, path))
        except queue.Full:
            self.metrics.log_dropped.inc()
            return False
        self.metrics.logged.inc()
        return True

    def stop(self) -> None:
        """Write everything that was taken in."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _write_on(self) -> None:
        stopped = False
        while not stopped:
            taken, stopped = self._batch()
            self._write(taken)

    def _batch(self) -> tuple[list[_Rows], bool]:
        """Collect requests until they are many, or the first is old, or the stop; return whether it was the stop."""
        taken: list[_Rows] = []
        count, due = 0, None
        while count < MOST_ROWS:
            try:
                entry = self._queue.get(timeout=None if due is None else max(due - monotonic(), 0.0))
            except queue.Empty:
                return taken, False
            if entry is None:
                return taken, True
            due = monotonic() + MOST_SECONDS if due is None else due
            made = self._rows(*entry)
            if made is not None:
                taken.append(made)
                count += made[1].num_rows
        return taken, False

    def _rows(self, scored: Scored, path: RequestPath) -> _Rows | None:
        self._count += 1
        try:
            if self._target is None or self._target.path is not path:
                self._target = _Target.of(path)
            request_id = f"{self._prefix}-{self._count}"
            return self._target, served_table(self._target.schema, scored, path.model.manifest.name, request_id)
        except (RankhouseError, pa.ArrowException) as error:
            self._lost(1, error)
            return None

    def _write(self, taken: Sequence[_Rows]) -> None:
        for target, parts in groupby(taken, key=itemgetter(0)):
            tables = [table for _, table in parts]
            try:
                self.before_write()
                target.store.write_logged_features(pa.concat_tables(tables), target.service)
            except (RankhouseError, pa.ArrowException, OSError) as error:
                self._lost(len(tables), error)

    def _lost(self, requests: int, error: Exception) -> None:
        self.metrics.log_dropped.inc(requests)
        _log.error("%d requests are not in the served log: %s", requests, error)
