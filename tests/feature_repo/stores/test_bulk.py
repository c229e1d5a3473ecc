from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.errors import ContractError
from feature_repo.stores.bulk import BulkReader, read_features, read_matrix, to_matrix

NOW = datetime(2026, 1, 31, tzinfo=UTC)
ITEMS = ["i0", "i1", "é\0☃", "", "i'; DROP TABLE views; --", "i5", "i6", "i7"]


def pairs() -> pa.Table:
    rng = np.random.default_rng(5)
    users = [0, *rng.integers(0, 9, 60).tolist(), None]
    return pa.table({"user_id": pa.array(users, pa.int64()), "item_id": ["unknown", *rng.choice(ITEMS, 61).tolist()]})


@pytest.fixture(params=["packed", "redis", "stock"])
def any_store(request: pytest.FixtureRequest, packed_store: Any, stock_store: Any, monkeypatch: Any) -> Any:
    """The packed stores, and the stock one with the same clock."""
    if request.param == "redis":
        return request.getfixturevalue("redis_store")
    if request.param == "stock":
        from feature_repo.stores import packed_clock

        monkeypatch.setattr(packed_clock.time, "time_ns", lambda: int(NOW.timestamp()) * 10**9)
        return stock_store
    return packed_store


def expected(world: Any, rows: pa.Table, view: str, name: str) -> list:
    """The slow way: the source's value of each row's key, null beyond ten days for items."""
    keys = {"users": ["user_id"], "items": ["item_id"], "pairs": ["user_id", "item_id"]}[view]
    known = {tuple(row[key] for key in keys): row for row in world.tables[view].to_pylist()}
    values = []
    for asked in rows.to_pylist():
        row = known.get(tuple(asked[key] for key in keys))
        old = row is not None and view == "items" and (NOW - row["event_timestamp"]).total_seconds() > 864_000
        values.append(None if row is None or old else row[name])
    return values


def test_every_stored_value_and_type_is_the_sources(any_store: Any, packed_world: Any) -> None:
    rows = pairs()
    table = read_features(any_store, "plain", rows)
    assert table.column_names[:2] == ["user_id", "item_id"]
    for view in ("users", "items", "pairs"):
        source = packed_world.tables[view]
        for field in packed_world.view(view).features:
            assert table.schema.field(field.name).type == source.schema.field(field.name).type
            if field.name == "big" and not hasattr(any_store.config.online_store, "clock"):
                continue  # Feast's own materialisation rounds integers beside a null.
            assert table[field.name].to_pylist() == expected(packed_world, rows, view, field.name), field.name


def test_on_demand_views_run_once_over_columns(any_store: Any, packed_world: Any) -> None:
    rows, boost = pairs(), np.arange(62) / 4
    table = BulkReader(any_store).features("with_boosts", rows, {"boost": boost})
    scores = expected(packed_world, rows, "pairs", "score")
    assert table["boosted"].to_pylist() == [(s or 0.0) + b for s, b in zip(scores, boost.tolist(), strict=True)]
    constant = BulkReader(any_store).features("with_boosts", rows, {"boost": 2.0})
    assert constant["boosted"].to_pylist() == [(s or 0.0) + 2.0 for s in scores]


def test_one_view_in_two_roles_and_on_demand_views_alone(any_store: Any, packed_world: Any) -> None:
    people = pa.table({"author_id": [0, 1, 99], "reader_id": [1, 1, 0]})
    table = BulkReader(any_store).features("roles", people, full_feature_names=True)
    ages = packed_world.tables["users"]["age"].to_pylist()
    assert table["author__age"].to_pylist() == [ages[0], ages[1], None]
    assert table["reader__age"].to_pylist() == [ages[1], ages[1], ages[0]]
    only = BulkReader(any_store).features("only_on_demand", pairs(), {"boost": 0.0})
    seen = expected(packed_world, pairs(), "pairs", "seen")
    assert only["doubled"].to_pylist() == [None if value is None else 2 * value for value in seen]
    assert only.column_names == ["user_id", "item_id", "boosted", "doubled"]


def test_the_matrix_is_the_table(any_store: Any) -> None:
    rows, reader = pairs(), BulkReader(any_store)
    columns = ["boosted", "price", "seen", "fresh", "score", "popularity"]
    table = reader.features("with_boosts", rows, {"boost": 1.0})
    matrix = reader.matrix("with_boosts", rows, columns, {"boost": 1.0})
    np.testing.assert_array_equal(matrix, to_matrix(table, columns))
    assert matrix.dtype == np.float64
    assert np.isnan(matrix).any()
    single = reader.matrix("with_boosts", rows, columns, {"boost": 1.0}, dtype=np.float32)
    np.testing.assert_array_equal(single, matrix.astype(np.float32))
    np.testing.assert_array_equal(read_matrix(any_store, "with_boosts", rows, columns, {"boost": 1.0}), matrix)


def test_full_names_lists_of_references_and_plain_arrays(any_store: Any) -> None:
    reader = BulkReader(any_store)
    arrays = {"user_id": np.array([0, 1, 2]), "item_id": np.array(["i0", "i1", "i2"])}
    full = reader.features(["items:title", "users:age"], arrays, full_feature_names=True)
    assert full.column_names == ["user_id", "item_id", "items__title", "users__age"]
    short = reader.features(["items:title", "users:age"], arrays)
    assert short["age"].to_pylist() == full["users__age"].to_pylist()


def test_mistakes_are_named(any_store: Any) -> None:
    reader = BulkReader(any_store)
    with pytest.raises(ContractError, match="expected the join key 'user_id' of view users"):
        reader.features(["users:age"], {"item_id": ["i0"]})
    with pytest.raises(ContractError, match='Did you mean "age"'):
        reader.matrix(["users:age"], {"user_id": [1]}, ["agge"])
    with pytest.raises(ContractError, match=r"column title: expected a number.* got string"):
        reader.matrix(["items:title"], {"item_id": ["i0"]}, ["title"])
