from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.workspace import Workspace
from ranking.serving.clock import ServingClock
from ranking.serving.path import RequestPath
from ranking.serving.pool import Pool

NOW = datetime(2024, 6, 1, tzinfo=UTC)


class Columns:
    """Stands in for what was read: Arrow columns by name."""

    def __init__(self, columns: Mapping[str, pa.Array]) -> None:
        self._columns = columns

    def array(self, name: str) -> pa.Array:
        return self._columns[name]


@pytest.fixture
def pool() -> Callable[..., Pool]:
    """Make a pool of items 1, 2, ... from columns as lists or Arrow arrays."""

    def make(context: Mapping[str, object] | None = None, **columns: list | pa.Array) -> Pool:
        arrays = {
            name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in columns.items()
        }
        rows = len(next(iter(arrays.values())))
        items = pa.array(np.arange(1, rows + 1))
        return Pool(items, {"stored": np.ones(rows, bool)}, Columns(arrays), NOW, context or {})

    return make


@pytest.fixture(scope="module")
def path(served: Workspace) -> RequestPath:
    return RequestPath.open(served)


@pytest.fixture(scope="module")
def now(served: Workspace) -> datetime:
    return ServingClock(served).now()
