"""Functions over what stage one learned: against slow versions, row by row alike, the same for numbered lists."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.on_demand import history_similarity, vector_products
from feature_repo.on_demand.columns import PairFunction
from feature_repo.on_demand.history_similarity import HALF_LIFE_DAYS, HOW, POSITION_DECAY
from feature_repo.on_demand.learned import sources_between

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
OLDER = NOW - timedelta(days=3)
SOURCES = ("bm25", "next_item")


def similarity_function(item: pa.DataType) -> PairFunction:
    columns = ["history_items", *(f"{source}_neighbours" for source in SOURCES), "item_id"]
    return history_similarity.FUNCTION.make(tuple(columns), pa.list_(item))


def vector_function() -> PairFunction:
    return vector_products.FUNCTION.make(("user_als_vector", "user_wide_vector", "user_wide_bias"), pa.null())


FUNCTIONS = {"similarity": similarity_function(pa.string()), "vectors": vector_function()}
MODULES = {"similarity": history_similarity, "vectors": vector_products}


def user_row(rng: np.random.Generator) -> dict:
    size = int(rng.choice([0, 1, 4, 9]))
    ages = np.sort(rng.integers(0, 10**7, size))
    row: dict = {
        "user_history_cut": NOW,
        "history_items": [f"i{number}" for number in rng.permutation(12)[:size]],
        "history_times": [OLDER - timedelta(seconds=int(age)) for age in ages],
        "user_vectors_cut": NOW,
        "user_als_vector": rng.normal(size=3).tolist(),
        "user_wide_vector": rng.normal(size=9).tolist() if rng.random() < 0.8 else None,
        "user_wide_bias": float(rng.integers(0, 9)),
    }
    return row if rng.random() < 0.9 else {}


def item_row(rng: np.random.Generator) -> dict:
    row: dict = {"item_neighbours_cut": NOW, "item_vectors_cut": NOW if rng.random() < 0.8 else OLDER}
    for source in SOURCES:
        size = int(rng.choice([0, 1, 5]))
        row[f"{source}_neighbours"] = [f"i{number}" for number in rng.permutation(14)[:size]] or None
        weights = [float(value) / 4 for value in np.sort(rng.integers(1, 9, size))[::-1]]
        row[f"{source}_neighbour_weights"] = weights or None
    row["item_als_vector"] = [0.0] * 3 if rng.random() < 0.2 else rng.normal(size=3).tolist()
    row["item_wide_vector"] = rng.normal(size=9).tolist()
    row["item_wide_bias"] = None if rng.random() < 0.2 else float(rng.integers(0, 9))
    return row if rng.random() < 0.9 else {}


def pairs(seed: int, users: int = 5, items: int = 6, count: int = 40) -> tuple[list[dict], np.ndarray, np.ndarray]:
    """Rows of one user and one item each, both out of few, and the numbers of the two."""
    rng = np.random.default_rng(seed)
    people, things = [user_row(rng) for _ in range(users)], [item_row(rng) for _ in range(items)]
    user, item = rng.integers(0, users, count), rng.integers(0, items, count)
    rows = [{"request_time": NOW, **people[u], **things[i]} for u, i in zip(user, item, strict=True)]
    return rows, user, item


def table_of(function: PairFunction, rows: list[dict]) -> pa.Table:
    return pa.table({name: pa.array([row.get(name) for row in rows], dtype) for name, dtype in function.types.items()})


def numbered(table: pa.Table, user: np.ndarray, item: np.ndarray) -> pa.Table:
    """The same table with every list once, as the offline store hands it over; with a list that nobody has."""
    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_list(column.type):
            owner = user if name.startswith(("user", "history")) else item
            first = {number: place for place, number in reversed(list(enumerate(owner)))}
            lists = pa.concat_arrays([column.take(pa.array(list(first.values()))), column.slice(0, 1)])
            place = {number: position for position, number in enumerate(first)}
            positions = pa.array([place[number] if valid.as_py() else None for number, valid in
                                  zip(owner, column.is_valid(), strict=True)], pa.int32())  # fmt: skip
            column = pa.DictionaryArray.from_arrays(positions, lists)
        columns[name] = column
    return pa.table(columns)


def slow_similarity(row: dict, source: str) -> dict[str, float | None]:
    names = [f"{source}_similarity_{how}" for how in HOW]
    neighbours = row.get(f"{source}_neighbours")
    if not row.get("history_items") or not neighbours:
        return dict.fromkeys(names)
    weights = dict(zip(neighbours, row[f"{source}_neighbour_weights"], strict=True))
    similarity = [weights.get(item, 0.0) for item in row["history_items"]]
    hours = [(row["history_times"][0] - time) // timedelta(hours=1) for time in row["history_times"]]
    faded = [value * 0.5 ** (hour / 24 / HALF_LIFE_DAYS) for value, hour in zip(similarity, hours, strict=True)]
    placed = [value * POSITION_DECAY**place for place, value in enumerate(similarity)]
    pooled = (max(similarity), sum(similarity) / len(similarity), sum(similarity), sum(faded), sum(placed))
    return dict(zip(names, (*pooled, similarity[0]), strict=True))


def slow_products(row: dict, source: str) -> dict[str, float | None]:
    user, item = row.get(f"user_{source}_vector"), row.get(f"item_{source}_vector")
    biases = [row.get(f"{side}_wide_bias") for side in ("user", "item")] if source == "wide" else [0.0, 0.0]
    one_fit = row.get("user_vectors_cut") and row.get("user_vectors_cut") == row.get("item_vectors_cut")
    if user is None or item is None or not one_fit:
        return {f"{source}_dot": None, f"{source}_cosine": None}
    user, item = (np.array(vector, np.float32).astype(float) for vector in (user, item))
    dot, length = float(np.dot(user, item)), float(np.linalg.norm(user) * np.linalg.norm(item))
    return {
        f"{source}_dot": None if None in biases else dot + sum(biases),
        f"{source}_cosine": dot / length if length else None,
    }


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_similarities_match_the_slow_version(seed: int) -> None:
    rows, user, item = pairs(seed)
    table = table_of(FUNCTIONS["similarity"], rows)
    for given_as in (table, numbered(table, user, item)):
        found = history_similarity.on_arrow(given_as).to_pylist()
        for row, result in zip(rows, found, strict=True):
            for source in SOURCES:
                for name, value in slow_similarity(row, source).items():
                    assert result[name] == (None if value is None else pytest.approx(value, rel=1e-6)), name


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_products_match_the_slow_version(seed: int) -> None:
    rows, user, item = pairs(seed)
    table = table_of(FUNCTIONS["vectors"], rows)
    for given_as in (table, numbered(table, user, item)):
        found = vector_products.on_arrow(given_as).to_pylist()
        for row, result in zip(rows, found, strict=True):
            for source in ("als", "wide"):
                for name, value in slow_products(row, source).items():
                    assert result[name] == (None if value is None else pytest.approx(value, rel=1e-5, abs=1e-6)), name


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_rows_bits_do_not_depend_on_the_others(name: str, size: int) -> None:
    rows, user, item = pairs(3, users=30, items=40, count=200)
    table = table_of(FUNCTIONS[name], rows)
    whole = MODULES[name].on_arrow(table).combine_chunks()
    assert MODULES[name].on_arrow(numbered(table, user, item)).combine_chunks().equals(whole)
    parts = [MODULES[name].on_arrow(table.slice(start, size)) for start in range(0, 200, size)]
    assert pa.concat_tables(parts).combine_chunks().equals(whole)
    order = np.random.default_rng(0).permutation(200)
    shuffled = MODULES[name].on_arrow(table.take(pa.array(order)))
    assert shuffled.take(pa.array(np.argsort(order))).combine_chunks().equals(whole)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, user, item = pairs(5, users=30, items=40, count=300)
    similar = table_of(FUNCTIONS["similarity"], rows)
    whole = history_similarity.on_arrow(numbered(similar, user, item))
    monkeypatch.setattr(history_similarity, "BLOCK_ROWS", 11)
    for given_as in (similar, numbered(similar, user, item)):
        assert history_similarity.on_arrow(given_as).equals(whole)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arrow_and_pandas_agree(name: str) -> None:
    rows, _, _ = pairs(1)
    table = table_of(FUNCTIONS[name], rows)
    frame = MODULES[name].FUNCTION.on_frame(table.to_pandas())
    assert pa.Table.from_pandas(frame, preserve_index=False).equals(MODULES[name].on_arrow(table))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_rows_and_rows_of_nothing(name: str) -> None:
    assert MODULES[name].on_arrow(table_of(FUNCTIONS[name], [])).num_rows == 0
    nothing = MODULES[name].on_arrow(table_of(FUNCTIONS[name], [{"request_time": NOW}, {}])).to_pylist()
    assert {value for row in nothing for value in row.values()} == {None}


def test_whole_number_ids_are_ids_too() -> None:
    function = similarity_function(pa.int64())
    row = {"request_time": NOW, "user_history_cut": NOW, "item_neighbours_cut": NOW, "history_items": [7, 2**40],
           "history_times": [NOW, NOW - timedelta(days=HALF_LIFE_DAYS)]}  # fmt: skip
    row |= {f"{source}_neighbours": [2**40, 3] for source in SOURCES}
    row |= {f"{source}_neighbour_weights": [0.5, 0.25] for source in SOURCES}
    [found] = history_similarity.on_arrow(table_of(function, [row])).to_pylist()
    assert [found[f"bm25_similarity_{how}"] for how in HOW] == pytest.approx([0.5, 0.25, 0.5, 0.25, 0.45, 0.0])
    frame = history_similarity.FUNCTION.on_frame(table_of(function, [row, {"request_time": NOW}]).to_pandas())
    assert frame["bm25_similarity_recent"].tolist()[0] == 0.25


def test_two_fits_do_not_mix() -> None:
    rows, _, _ = pairs(2)
    for row in rows:
        row |= {"user_history_cut": OLDER, "user_vectors_cut": OLDER, "item_vectors_cut": NOW}
    for name, module in MODULES.items():
        found = module.on_arrow(table_of(FUNCTIONS[name], rows))
        assert all(column.null_count == len(rows) for column in found.columns)


def test_names_of_sources() -> None:
    columns = ["user_als_vector", "user_vectors__user_als_vector", "user_a_b_vector", "cut"]
    assert sources_between(columns, "user_", "_vector") == ["a_b", "als"]
