"""Events of one cell are alike: they enter at one snapshot and leave each window at one."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from feature_repo.building.cells import with_cells_sql
from feature_repo.building.snapshots import DAY
from feature_repo.columns import TIME

WINDOWS = (1, 7)


def cells_of(times: np.ndarray, snapshots: np.ndarray) -> np.ndarray:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("given", pa.table({TIME: pa.array(times, pa.timestamp("us", tz="UTC"))}))
        query = with_cells_sql(connection, "FROM given", WINDOWS, snapshots)
        rows = connection.sql(f"SELECT epoch_us({TIME}) AS time, cell FROM ({query})").to_arrow_table()
    found = dict(zip(rows["time"].to_pylist(), rows["cell"].to_pylist(), strict=True))
    return np.array([found[time] for time in times.tolist()])


@pytest.mark.parametrize("seed", range(4))
def test_events_of_a_cell_show_and_leave_together(seed: int) -> None:
    random = np.random.default_rng(seed)
    midnights = np.arange(20_000, 20_012) * DAY
    snapshots = np.union1d(midnights, random.integers(midnights[0], midnights[-1], 3))
    edges = np.concatenate([snapshots - days * DAY for days in (0, *WINDOWS)])
    inside = random.integers(midnights[0] - 12 * DAY, midnights[-1] + DAY, 400)
    times = np.unique(np.concatenate([edges - 1, edges, edges + 1, inside]))
    cells = cells_of(times, snapshots)
    shown = np.stack([np.searchsorted(snapshots, times + days * DAY, side="right") for days in (0, *WINDOWS)])
    assert (np.diff(cells) >= 0).all()
    alike = np.diff(cells) == 0
    assert (np.diff(shown) == 0).all(axis=0)[alike].all()
    assert alike.any()


def test_every_event_has_one_cell_also_of_one_snapshot() -> None:
    times = np.array([-5, 0, 3 * DAY - 1, 3 * DAY, 900 * DAY, 90_000 * DAY]) + 1_000 * DAY
    assert len(cells_of(times, np.array([1_500 * DAY + 17]))) == len(times)
