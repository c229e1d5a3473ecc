from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.lake import Lake, Load, Manifest

DAY_0 = datetime(2024, 1, 1, tzinfo=UTC)
Event = tuple[int, int, float, str]
WriteLog = Callable[[Path, Sequence[Event]], Lake]


@pytest.fixture(scope="session")
def day() -> Callable[[float], datetime]:
    """Turn days since the start of the log into a time."""
    return lambda days: DAY_0 + timedelta(days=days)


@pytest.fixture(scope="session")
def write_log() -> WriteLog:
    """Write a lake of (user, item, day, type): `buy` (1.0) and `click` (0.2) are targets, all but `view` consume."""

    def write(data_dir: Path, events: Sequence[Event]) -> Lake:
        users, items, days, types = zip(*events, strict=True)
        table = pa.table(
            {
                "user_id": pa.array(users, pa.int64()),
                "item_id": pa.array(items, pa.int64()),
                "event_timestamp": pa.array([DAY_0 + timedelta(days=d) for d in days], pa.timestamp("us", tz="UTC")),
                "event_type": pa.array(types, pa.string()),
                "value": pa.nulls(len(events), pa.float64()),
                "origin": pa.nulls(len(events), pa.string()),
            }
        )
        lake = Lake(data_dir)
        (lake.root / "events").mkdir(parents=True)
        pq.write_table(table.sort_by("event_timestamp"), lake.root / "events" / "000001.parquet")
        load = Load("test", "fingerprint", {"events": len(events)}, {"events": ["events/000001.parquet"]})
        roles = {"targets": {"buy": 1.0, "click": 0.2}, "consuming": ["buy", "click", "dislike"]}
        lake.commit(Manifest("test", "int64", "int64", roles, loads=(load,)))
        return lake

    return write


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a package look as if it were not installed."""
    real = builtins.__import__

    def hide_package(package: str) -> None:
        def without(name: str, *arguments: object) -> object:
            if name == package:
                raise ModuleNotFoundError(name)
            return real(name, *arguments)

        monkeypatch.setattr(builtins, "__import__", without)

    return hide_package
