"""Rows of change against the obvious loop over rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.building.rows import faulty_row, rows_of_change, stamped, with_pushed
from feature_repo.columns import TIME

KEYS = ("user_id", "item_id")
TIMES = pa.timestamp("us", tz="UTC")
LISTS = (None, [], [None], [1, 2], [1, 3], [2])


def rows_of(seed: int, count: int = 400) -> pa.Table:
    """Rows with few distinct values, so that many say what the row before them says, in no order."""
    random = np.random.default_rng(seed)
    picked = random.choice(5 * 3 * 60, count, replace=False)
    columns = {
        "user_id": pa.array([("b", "", "ä", "a", "B")[place % 5] for place in picked]),
        "item_id": pa.array(picked // 5 % 3 - 1),
        TIME: pa.array(picked // 15 * 10**9, TIMES),
        "n": pa.array([None if value == 0 else int(value) for value in random.integers(0, 2, count)], pa.int32()),
        "s": pa.array([("x", None)[value] for value in random.integers(0, 2, count)]),
        "l": pa.array([LISTS[value] for value in random.integers(0, len(LISTS), count)], pa.list_(pa.int64())),
    }
    return pa.table(columns)


def changes_of(table: pa.Table, pushed: set[tuple]) -> list[tuple]:
    """The rows of change, one by one: by key and time, each compared with what comes before it."""
    rows = [(*row.values(),) for row in table.to_pylist()]
    marked = sorted([(*key, False) for key in pushed] + [(*row[:3], True) for row in rows])
    features = {row[:3]: row[3:] for row in rows}
    before: dict[tuple, object] = {}
    found = []
    for *key, computed in marked:
        owner = tuple(key[:2])
        if computed and before.get(owner, "nothing") != features[tuple(key)]:
            found.append((*key, *features[tuple(key)]))
        before[owner] = features[tuple(key)] if computed else "pushed"
    return sorted(found, key=lambda row: (row[2], row[0], row[1]))


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_change_are_those_of_the_loop(seed: int) -> None:
    table = rows_of(seed)
    found = rows_of_change(table, KEYS, ["n", "s", "l"])
    assert [(*row.values(),) for row in found.to_pylist()] == changes_of(table, set())
    assert 0 < found.num_rows < table.num_rows


@pytest.mark.parametrize("seed", range(5))
def test_a_pushed_row_comes_before_one_of_the_same_time(seed: int) -> None:
    table = rows_of(seed)
    pushed = rows_of(seed + 100, 50).select([*KEYS, TIME])
    both = pa.concat_tables([pushed, table.select([*KEYS, TIME]).slice(0, 50)]).group_by([*KEYS, TIME]).aggregate([])
    found = rows_of_change(with_pushed(table, both), KEYS, ["n", "s", "l"])
    marked = {(*row.values(),) for row in both.to_pylist()}
    assert [(*row.values(),) for row in found.to_pylist()] == changes_of(table, marked)


def test_a_second_row_and_a_null_are_faults() -> None:
    table = rows_of(0)
    assert faulty_row(table, KEYS) is None
    twice = pa.concat_tables([table, table.slice(7, 1)])
    assert faulty_row(twice, KEYS) == (*table.select([*KEYS, TIME]).slice(7, 1).to_pylist()[0].values(),)
    without = table.set_column(1, "item_id", pa.array([None, *table["item_id"].to_pylist()[1:]], pa.int64()))
    assert faulty_row(without, KEYS)[1] is None


def test_no_rows_have_no_changes() -> None:
    nothing = rows_of(0).slice(0, 0)
    assert faulty_row(nothing, KEYS) is None
    assert rows_of_change(nothing, KEYS, ["n", "s", "l"]).num_rows == 0


def test_rows_are_chosen_by_their_stamps() -> None:
    table = rows_of(1)
    times = np.unique(table[TIME].cast(pa.int64()).to_numpy())[3:5]
    assert set(stamped(table, times)[TIME].cast(pa.int64()).to_pylist()) == set(times.tolist())
