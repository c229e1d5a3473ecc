from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.order import Groups
from ranking.scoring import batches, whole_users


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 15))
def test_batches_hold_whole_groups_within_the_bound(sizes: list[int], most: int) -> None:
    ranges = list(batches(Groups(np.array(sizes, np.int64)), most))
    bounds = [0, *np.cumsum(sizes).tolist()]
    assert [start for start, _ in ranges] + [sum(sizes)] == [0, *(stop for _, stop in ranges)]
    for start, stop in ranges:
        assert start in bounds
        assert stop in bounds
        assert stop - start <= most or bounds.index(stop) == bounds.index(start) + 1


@settings(derandomize=True, max_examples=80, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 7), st.integers(1, 15))
def test_tables_hold_whole_users(sizes: list[int], batch: int, most: int) -> None:
    users = [f"u{number:02}" for number, size in enumerate(sizes) for _ in range(size)]
    table = pa.table({"user_id": pa.array(users, pa.string()), "row": pa.array(range(len(users)), pa.int64())})
    found = list(whole_users(table.to_batches(batch), most))
    assert [row for part in found for row in part["row"].to_pylist()] == list(range(len(users)))
    distinct = [set(part["user_id"].to_pylist()) for part in found]
    assert sum(map(len, distinct)) == len(sizes)
    assert all(part.num_rows <= most or len(users) == 1 for part, users in zip(found, distinct, strict=True))
