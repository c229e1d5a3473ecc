"""On-demand functions: against slow versions, row by row alike, and the same through Arrow and through pandas."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.on_demand import affinity, recency
from feature_repo.on_demand.columns import TIMES, PairFunction

NOW = datetime(2024, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
names = st.lists(st.sampled_from(["a", "b", "ä", "", "drama"]), max_size=4, unique=True)


def table_of(function: PairFunction, rows: list[dict]) -> pa.Table:
    return pa.table({name: pa.array([row.get(name) for row in rows], dtype) for name, dtype in function.types.items()})


def affinity_rows() -> st.SearchStrategy[list[dict]]:
    def row(user: list[str] | None, item: list[str] | None, seed: int) -> dict:
        rng = np.random.default_rng(seed)
        size = 0 if user is None else len(user)
        lists: dict = {name: None if user is None else [0.25 * float(v) for v in rng.integers(0, 9, size)]
                       for name in affinity.POOLED.values()}  # fmt: skip
        lists["user_category_events_all"] = None if user is None else rng.integers(0, 9, size).tolist()
        if size:
            lists["user_category_value_mean"][0] = None
        return {"request_time": NOW, "user_categories": user, "item_categories": item, **lists}

    return st.lists(st.builds(row, st.none() | names, st.none() | names, st.integers(0, 99)), max_size=12)


def slow_affinity(row: dict) -> dict[str, float | None]:
    result: dict[str, float | None] = {}
    for prefix, name in affinity.POOLED.items():
        if not row["user_categories"] or not row["item_categories"]:
            result |= {f"{prefix}_{how}": None for how in ("max", "mean", "sum")}
            continue
        of = dict(zip(row["user_categories"], row[name], strict=True))
        values = [of.get(category) or 0.0 for category in row["item_categories"]]
        result |= {f"{prefix}_max": max(values), f"{prefix}_sum": sum(values)}
        result[f"{prefix}_mean"] = sum(values) / len(values)
    return result


@settings(max_examples=60, deadline=None, derandomize=True)
@given(affinity_rows())
def test_affinity_matches_the_slow_version(rows: list[dict]) -> None:
    found = affinity.FUNCTION.on_arrow(table_of(affinity.FUNCTION, rows)).to_pylist()
    for row, result in zip(rows, found, strict=True):
        for name, value in slow_affinity(row).items():
            assert result[name] == (None if value is None else pytest.approx(value, rel=1e-6)), name


def test_recency_is_in_days_from_whole_seconds() -> None:
    rows = [
        {
            "request_time": NOW,
            "user_last_event_at": NOW - timedelta(days=1.5),
            "item_released_at": NOW + timedelta(days=2),
        },
        {"request_time": NOW},
        {"request_time": None, "user_last_event_at": NOW},
    ]
    found = recency.FUNCTION.on_arrow(table_of(recency.FUNCTION, rows)).to_pylist()
    assert found[0]["user_days_since_last_event"] == 1.5
    assert found[0]["item_days_since_release"] == -2
    assert found[0]["pair_days_since_last_event"] is None
    assert set(found[1].values()) == set(found[2].values()) == {None}


@pytest.mark.parametrize("module", [affinity, recency])
def test_arrow_and_pandas_agree(module) -> None:
    rng = np.random.default_rng(1)
    rows = []
    for number in range(40):
        row: dict = {}
        for name, dtype in module.FUNCTION.types.items():
            if dtype == TIMES:
                row[name] = NOW - timedelta(seconds=int(rng.integers(0, 10**7)))
            elif pa.types.is_string(dtype.value_type):
                row[name] = list(rng.permutation(["a", "b", "c"])[: number % 4])
            else:
                row[name] = [int(value) for value in rng.integers(0, 9, number % 4)]
            if rng.random() < 0.2 and name not in ("user_categories", *affinity.POOLED.values()):
                row[name] = None
        rows.append(row)
    table = table_of(module.FUNCTION, rows)
    arrow = module.on_arrow(table)
    frame = module.FUNCTION.on_frame(table.to_pandas())
    assert pa.Table.from_pandas(frame, preserve_index=False).equals(arrow)
    sliced = pa.concat_tables([module.on_arrow(table.slice(start, 7)) for start in range(0, 40, 7)])
    assert sliced.combine_chunks().equals(arrow.combine_chunks())
    # One row alone gives what it gives among others: nothing is learned from the batch.
    assert module.on_arrow(table.slice(11, 1)).to_pylist() == arrow.slice(11, 1).to_pylist()


def test_no_rows() -> None:
    for module in (affinity, recency):
        assert module.on_arrow(table_of(module.FUNCTION, [])).num_rows == 0
