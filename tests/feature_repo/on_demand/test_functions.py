"""On-demand functions: against slow versions, row by row alike, and the same through Arrow and through pandas."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.on_demand import affinity, audience, codes, context, recency, segment_taste, trend
from feature_repo.on_demand.columns import TIMES, PairFunction

MODULES = [affinity, audience, context, recency, segment_taste, trend]

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
        for name in affinity.COUNTED:
            lists[name] = None if user is None else rng.integers(0, 9, size).tolist()
        times = [NOW.replace(microsecond=0) - timedelta(seconds=int(age)) for age in rng.integers(0, 10**7, size)]
        lists["user_category_last_at"] = None if user is None else times
        if size:
            lists["user_category_value_mean"][0] = None
        return {"request_time": NOW, "user_categories": user, "item_categories": item, **lists}

    return st.lists(st.builds(row, st.none() | names, st.none() | names, st.integers(0, 99)), max_size=12)


def slow_affinity(row: dict) -> dict[str, float | None]:
    result: dict[str, float | None] = {}
    for prefix, name in affinity.POOLED.items():
        if not row["user_categories"] or not row["item_categories"]:
            result |= {f"{prefix}_{how}": None for how in ("max", "mean", "sum")}
            result[affinity.SINCE] = None
            continue
        of = dict(zip(row["user_categories"], row[name], strict=True))
        values = [of.get(category) or 0.0 for category in row["item_categories"]]
        result |= {f"{prefix}_max": max(values), f"{prefix}_sum": sum(values)}
        result[f"{prefix}_mean"] = sum(values) / len(values)
        last = dict(zip(row["user_categories"], row[affinity.LAST], strict=True))
        met = [last[category] for category in row["item_categories"] if category in last]
        result[affinity.SINCE] = (NOW.replace(microsecond=0) - max(met)) / timedelta(days=1) if met else None
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


NAMES_OF = {"segments": ["g=F", "g=M", "g"], "attributes": ["g", "c", "x"], "categories": ["a", "b", "c"]}


def random_rows(function: PairFunction, count: int = 40, seed: int = 1) -> list[dict]:
    """Rows whose lists of one view have one length; a view's row is there or not as a whole."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        row: dict = {"request_time": NOW, "device": rng.choice(["phone", None]), "surface": "home"}
        for columns in function.inputs.values():
            there, size = rng.random() < 0.85, int(rng.integers(0, 4))
            row |= {name: value(rng, name, dtype, size) if there else None for name, dtype in columns.items()}
        rows.append(row)
    return rows


def value(rng: np.random.Generator, name: str, dtype: pa.DataType, size: int) -> object:
    if pa.types.is_list(dtype) and pa.types.is_string(dtype.value_type):
        return [str(text) for text in rng.permutation(NAMES_OF[name.rpartition("_")[2]])[:size]]
    if pa.types.is_list(dtype):
        return [value(rng, name, dtype.value_type, size) for _ in range(size)]
    if dtype == TIMES:
        return NOW.replace(microsecond=0) - timedelta(seconds=int(rng.integers(0, 10**7)))
    return int(rng.integers(1, 9))


@pytest.mark.parametrize("module", MODULES)
def test_arrow_and_pandas_agree(module) -> None:
    table = table_of(module.FUNCTION, random_rows(module.FUNCTION))
    arrow = module.on_arrow(table)
    assert all(column.null_count < 40 for column in arrow.columns)
    frame = module.FUNCTION.on_frame(table.to_pandas())
    assert pa.Table.from_pandas(frame, preserve_index=False).equals(arrow)
    sliced = pa.concat_tables([module.on_arrow(table.slice(start, 7)) for start in range(0, 40, 7)])
    assert sliced.combine_chunks().equals(arrow.combine_chunks())
    # One row alone gives what it gives among others: nothing is learned from the batch.
    assert module.on_arrow(table.slice(11, 1)).to_pylist() == arrow.slice(11, 1).to_pylist()


@pytest.mark.parametrize("module", [affinity, audience, segment_taste])
def test_lists_that_rows_share_are_lists(module) -> None:
    rows = random_rows(module.FUNCTION, count=12)
    number = np.random.default_rng(2).integers(0, 12, 60)
    once = table_of(module.FUNCTION, rows)
    shared = {
        name: pa.DictionaryArray.from_arrays(pa.array(number, pa.int32()), once[name].combine_chunks())
        if pa.types.is_list(once[name].type)
        else once[name].take(pa.array(number))
        for name in once.column_names
    }
    assert module.on_arrow(pa.table(shared)).equals(module.on_arrow(once.take(pa.array(number))))


@pytest.mark.parametrize("module", [affinity, audience, segment_taste])
def test_names_are_searched_where_a_table_of_them_were_too_large(module, monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(module.FUNCTION, random_rows(module.FUNCTION))
    whole = module.on_arrow(table)
    monkeypatch.setattr(codes, "TABLE_CELLS", 0)
    monkeypatch.setattr(codes, "FEW", 0)
    assert module.on_arrow(table).equals(whole)


def test_an_audience_is_smoothed_by_the_groups_shares() -> None:
    item = {"item_segments": ["g", "g=F"], "item_segment_value_mean": [3.0, 4.0]}
    item |= {f"item_segment_events_{window}": [5, 5] for window in audience.WINDOWS}
    users = [
        {"user_segments": [name], "user_segment_attributes": ["g"], "user_segment_priors": [0.25]}
        for name in ("g=F", "g=M")
    ]
    rows = [{**users[0], **item}, {**users[1], **item}, users[0], item]
    found = audience.on_arrow(table_of(audience.FUNCTION, rows)).to_pylist()
    assert [row["audience_share_all"] for row in found] == pytest.approx([10 / 25, 5 / 25, 0.25, None])
    assert [row["audience_lift_30d"] for row in found] == pytest.approx([1.6, 0.8, 1.0, None])
    assert [row["audience_value"] for row in found] == [4.0, None, None, None]


def test_an_audience_is_pooled_over_the_users_groups() -> None:
    row = {
        "user_segments": ["c=DE", "g=F"],
        "user_segment_attributes": ["c", "g"],
        "user_segment_priors": [0.5, 0.25],
        "item_segments": ["c", "c=DE", "g", "g=M"],
        "item_segment_value_mean": [3.0, 4.0, 3.0, 1.0],
    }
    row |= {f"item_segment_events_{window}": [30, 10, 5, 5] for window in audience.WINDOWS}
    [found] = audience.on_arrow(table_of(audience.FUNCTION, [row])).to_pylist()
    shares = [(10 + 10) / (30 + 20), (0 + 5) / (5 + 20)]
    lifts = [shares[0] / 0.5, shares[1] / 0.25]
    assert found["audience_share_90d"] == pytest.approx(sum(shares) / 2)
    assert found["audience_lift_90d"] == pytest.approx(sum(lifts) / 2)
    assert found["audience_lift_max_90d"] == pytest.approx(max(lifts))
    assert found["audience_value"] == 4.0


def test_group_tastes_are_those_of_the_items_known_categories() -> None:
    user = {
        "segment_categories": ["a", "b"],
        "segment_category_shares": [0.75, 0.25],
        "segment_category_lifts": [2.0, 0.5],
    }
    rows = [{**user, "item_categories": names} for names in (["a", "b"], ["b", "new"], ["new"], None)]
    found = segment_taste.on_arrow(table_of(segment_taste.FUNCTION, rows)).to_pylist()
    assert [row["segment_taste_share_mean"] for row in found] == [0.5, 0.25, None, None]
    assert [row["segment_taste_lift_max"] for row in found] == [2.0, 0.5, None, None]


def test_the_slope_is_that_of_daily_counts() -> None:
    """Events at noon of each day of the window, more each day: a least-squares line through the counts agrees."""
    counts = np.arange(1, 31) * 4
    ages = np.arange(30)[::-1] + 0.5
    mean = NOW.replace(microsecond=0) - timedelta(days=float((counts * ages).sum() / counts.sum()))
    row = {"request_time": NOW, "item_events_30d": int(counts.sum()), "item_mean_event_at_30d": mean,
           "item_events_7d": 0}  # fmt: skip
    [found] = trend.on_arrow(table_of(trend.FUNCTION, [row])).to_pylist()
    assert found["item_slope_30d"] == pytest.approx(np.polyfit(np.arange(30), counts, 1)[0], rel=0.01)
    assert found["item_tendency_30d"] == pytest.approx(found["item_slope_30d"] * 30 / (counts.sum() / 30 + 1))
    assert found["item_slope_7d"] == found["item_tendency_7d"] == 0
    assert found["item_slope_90d"] is None


def test_a_request_knows_its_hour_and_weekday() -> None:
    friday = {"request_time": NOW, "user_last_event_at": NOW - timedelta(hours=3), "device": "phone"}
    sunday = {"request_time": datetime(2024, 3, 3, 23, 59, 59, tzinfo=UTC)}
    found = context.on_arrow(table_of(context.FUNCTION, [friday, sunday])).to_pylist()
    assert found[0] | {"context_hours_since_last_event": 3} == {
        "context_hour": 12, "context_weekday": 4, "context_weekend": 0, "context_hours_since_last_event": 3,
        "context_device": "phone", "context_surface": None}  # fmt: skip
    assert found[0]["context_hours_since_last_event"] == pytest.approx(3, abs=0.001)
    assert (found[1]["context_hour"], found[1]["context_weekday"], found[1]["context_weekend"]) == (23, 6, 1)


def test_no_rows() -> None:
    for module in MODULES:
        assert module.on_arrow(table_of(module.FUNCTION, [])).num_rows == 0


def test_definitions_are_found_without_numba() -> None:
    """It takes half a second to import, and more where loops are still to be compiled."""
    finds = (
        "import importlib, pkgutil, sys; import feature_repo.on_demand as found; "
        "[importlib.import_module(f'{found.__name__}.{one.name}') for one in pkgutil.iter_modules(found.__path__)]; "
        "sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", finds]).returncode == 0
