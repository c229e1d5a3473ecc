from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.errors import ContractError
from ranking.encoding import MAX_CATEGORIES, Column, learn_encoding

TABLE = pa.table(
    {
        "user_id": pa.array([1, 2, 3]),
        "count": pa.array([1, None, 3], pa.int64()),
        "share": pa.array([0.5, float("nan"), float("inf")], pa.float64()),
        "flag": pa.array([True, None, False]),
        "gender": pa.array(["m", "f", None]),
        "seen_at": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * 3, pa.timestamp("us", tz="UTC")),
        "genres": pa.array([["a"], [], None], pa.list_(pa.string())),
        "nothing": pa.nulls(3),
    }
)


def test_numbers_flags_and_texts_become_columns_and_the_rest_does_not() -> None:
    encoding = learn_encoding([TABLE])
    assert encoding.names == ["count", "share", "flag", "gender", "nothing"]
    assert encoding.categories == [3]
    assert encoding.columns[3] == Column("gender", "category", ("f", "m"))
    expected = [
        [1.0, 0.5, 1.0, 1.0, np.nan],
        [np.nan, np.nan, np.nan, 0.0, np.nan],
        [3.0, np.nan, 0.0, np.nan, np.nan],
    ]
    matrix = encoding.encode(TABLE)
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, np.array(expected, np.float32))


def test_order_and_further_columns_of_the_table_do_not_matter() -> None:
    encoding = learn_encoding([TABLE])
    shuffled = TABLE.select(sorted(TABLE.column_names)).append_column("more", pa.array([1, 2, 3]))
    np.testing.assert_array_equal(encoding.encode(shuffled), encoding.encode(TABLE))


def test_a_text_that_training_did_not_see_is_missing() -> None:
    encoding = learn_encoding([pa.table({"city": ["x", "y"]})])
    later = pa.table({"city": pa.chunked_array([["y"], ["new"], [None]])})
    np.testing.assert_array_equal(encoding.encode(later), np.array([[1], [np.nan], [np.nan]], np.float32))


def test_dictionaries_read_like_the_texts_they_hold() -> None:
    texts = pa.array(["b", "a", None])
    encoding = learn_encoding([pa.table({"city": texts})])
    as_dictionary = pa.table({"city": texts.dictionary_encode()})
    assert learn_encoding([as_dictionary]) == encoding
    np.testing.assert_array_equal(encoding.encode(as_dictionary), encoding.encode(pa.table({"city": texts})))


def test_a_vocabulary_keeps_the_most_frequent_texts_of_all_tables() -> None:
    rare = pa.table({"city": [f"rare{number:04d}" for number in range(MAX_CATEGORIES + 50)]})
    frequent = pa.table({"city": ["often"] * 2})
    vocabulary = learn_encoding([rare, frequent]).columns[0].vocabulary
    assert len(vocabulary) == MAX_CATEGORIES
    assert "often" in vocabulary
    assert "rare0000" in vocabulary


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ContractError, match="none named count"):
        learn_encoding([TABLE]).encode(TABLE.drop_columns(["count"]))
