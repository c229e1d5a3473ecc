"""The latest rows of each key in pieces, against a dictionary."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.stores.latest import LatestRows
from feature_repo.stores.sources import open_parquet

TIME = pa.timestamp("us", "UTC")
KEYS = ("user_id", "item_id")


def table(users: list[Any], items: list[Any], events: list[int], created: list[int | None], first: int = 0) -> pa.Table:
    numbers = all(isinstance(user, int) for user in users)
    return pa.table(
        {
            "user_id": pa.array(users, pa.int64() if numbers and users else pa.string()),
            "item_id": pa.array(items, pa.int64()),
            "event": pa.array(events, TIME),
            "created": pa.array(created, TIME),
            "place": pa.array(range(first, first + len(users)), pa.int64()),
        }
    )


def found(folder: Path, low: int, high: int, **sizes: int) -> list[pa.Table]:
    scan = open_parquet(str(folder), folder, 2)
    rows = LatestRows(scan, KEYS, "event", "created", low, high, "source", folder.parent / "spill", **sizes)
    return list(rows.parts(["user_id", "item_id", "event", "created", "place"]))


def write(folder: Path, rows: pa.Table, files: int, group: int) -> None:
    folder.mkdir()
    size = -(-max(rows.num_rows, 1) // files)
    for number in range(files):
        pq.write_table(rows.slice(number * size, size), folder / f"{number}.parquet", row_group_size=group)


def oracle(rows: pa.Table, low: int, high: int) -> dict[tuple[Any, int], int]:
    best: dict[tuple[Any, int], tuple[tuple[int, int, int], int]] = {}
    columns = [rows[name].to_pylist() for name in KEYS]
    clocks = [rows[name].cast(pa.int64()).to_pylist() for name in ("event", "created")]
    for place, (user, item, event, created) in enumerate(zip(*columns, *clocks, strict=True)):
        rank = (event, -1 if created is None else created, place)
        known = user is not None and item is not None and low <= event <= high
        if known and ((user, item) not in best or rank > best[user, item][0]):
            best[user, item] = (rank, place)
    return {key: place for key, (_, place) in best.items()}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_pieces_of_any_size_hold_the_latest_row_of_each_key(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    user = data.draw(st.sampled_from([st.sampled_from(["a", "b", "", "ab", "ü", None]), st.integers(-3, 3)]))
    row = st.tuples(user, st.integers(0, 3) | st.none(), st.integers(0, 9), st.integers(0, 3) | st.none())
    values = data.draw(st.lists(row, max_size=40))
    rows = table(*map(list, zip(*values, strict=True))) if values else table([], [], [], [])
    folder = tmp_path_factory.mktemp("source") / "files"
    write(folder, rows, data.draw(st.integers(1, 3)), data.draw(st.integers(1, 9)))
    low, high = data.draw(st.sampled_from([(0, 9), (2, 7), (20, 30)]))
    sizes = {name: data.draw(st.sampled_from([1, 5, 1 << 20])) for name in ("piece_rows", "chosen_rows")}
    parts = found(folder, low, high, **sizes)
    places = [
        (u, i, p) for part in parts for u, i, p in zip(*(part[c].to_pylist() for c in (*KEYS, "place")), strict=True)
    ]
    assert len(places) == len({(u, i) for u, i, _ in places})
    assert {(u, i): p for u, i, p in places} == oracle(rows, low, high)


def test_rows_in_the_order_of_their_keys_are_read_as_they_lie(tmp_path: Path, monkeypatch: Any) -> None:
    users = np.repeat([f"u{number:03}" for number in range(40)], 5).tolist()
    rows = table(users, list(range(5)) * 40, [7] * 200, [7] * 200)
    write(tmp_path / "files", rows, 2, 30)
    monkeypatch.setattr(LatestRows, "_latest_of", lambda *_: pytest.fail("nothing has to be compared"))
    parts = found(tmp_path / "files", 0, 9)
    assert max(part.num_rows for part in parts) == 30
    assert pa.concat_tables(parts)["place"].to_pylist() == list(range(200))


def test_many_rows_come_by_ranges_of_keys_and_leave_no_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    users, items = rng.permutation(3_000), rng.integers(0, 9, 3_000)
    rows = table(users.tolist(), items.tolist(), rng.integers(0, 9, 3_000).tolist(), [None] * 3_000)
    write(tmp_path / "files", rows, 3, 200)
    parts = found(tmp_path / "files", 0, 9, piece_rows=300, chosen_rows=700)
    assert sum(part.num_rows for part in parts) == 3_000
    assert len(parts) > 3
    ends = [(part["user_id"].to_numpy().min(), part["user_id"].to_numpy().max()) for part in parts]
    assert all(before[1] < after[0] for before, after in pairwise(ends))
    assert not list((tmp_path / "spill").iterdir())


def test_one_key_may_have_more_rows_than_a_piece(tmp_path: Path) -> None:
    rows = table(["same"] * 500, [1, 2] * 250, list(range(500)), [None] * 500)
    write(tmp_path / "files", rows, 1, 50)
    parts = found(tmp_path / "files", 0, 499, piece_rows=1, chosen_rows=10)
    assert sorted(pa.concat_tables(parts)["place"].to_pylist()) == [498, 499]
