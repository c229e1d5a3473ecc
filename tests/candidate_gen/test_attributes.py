from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from candidate_gen.attributes import segment_codes, token_matrix


def column(values: list, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


def said(table: pa.Table, **options: int) -> list[set[str]]:
    tokens = token_matrix(table, rows=table.num_rows, **{"min_rows": 1} | options)
    names = np.array(tokens.names.to_pylist(), object)
    return [set(names[row > 0]) for row in tokens.counts.toarray()]


def test_categories_are_their_own_segments():
    codes, names = segment_codes(column(["m", None, "f", "m"]), bins=8)
    assert codes.tolist() == [1, -1, 0, 1]
    assert names == ["f", "m"]


def test_numbers_fall_into_quantile_bins():
    codes, names = segment_codes(column([1.0, 2.0, 3.0, 4.0, None, float("nan")]), bins=2)
    assert codes.tolist() == [0, 0, 1, 1, -1, -1]
    assert names == ["#0", "#1"]


def test_few_distinct_numbers_need_fewer_bins():
    codes, names = segment_codes(column([7] * 9 + [8]), bins=5)
    assert len(set(codes.tolist())) <= len(names) <= 2


def test_a_column_of_nulls_has_no_segment():
    for kind in (pa.string(), pa.float64(), pa.timestamp("us", "UTC")):
        codes, names = segment_codes(column([None, None], kind), bins=4)
        assert codes.tolist() == [-1, -1]
        assert names == []


def test_every_kind_of_column_speaks():
    table = pa.table(
        {
            "title": ["The Big-Sleep", None, ""],
            "categories": pa.array([["Film Noir", "Crime"], [], None], pa.list_(pa.string())),
            "price": [1.0, 2.0, None],
            "released_at": pa.array([None, datetime(1999, 1, 1, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
        }
    )
    first, second, third = said(table, bins=2)
    assert first == {"the", "big", "sleep", "categories=Film Noir", "categories=Crime", "price=#0"}
    assert second == {"price=#1", "released_at=#0"}
    assert third == set()


def test_rare_tokens_are_left_out_and_the_limit_keeps_the_frequent_ones():
    table = pa.table({"title": ["b a", "a c", "b a d", "c"]})
    assert said(table, min_rows=2) == [{"a", "b"}, {"a", "c"}, {"a", "b"}, {"c"}]
    assert said(table, limit=2) == [{"a", "b"}, {"a"}, {"a", "b"}, set()]


def test_no_columns_means_no_tokens():
    tokens = token_matrix(pa.table({}), rows=3)
    assert tokens.counts.shape == (3, 0)
    assert len(tokens.names) == 0
