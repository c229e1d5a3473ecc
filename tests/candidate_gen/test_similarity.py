from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import sparse

from candidate_gen import similarity
from candidate_gen.similarity import keep_top, row_blocks, top_k_product, unit_rows, work_per_row

SMALL = npst.arrays(
    np.float32, npst.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.sampled_from([0, 1, 2, 0.5, -1])
)


def slow_top(matrix: np.ndarray, k: int) -> np.ndarray:
    result = np.zeros_like(matrix)
    for row, values in enumerate(matrix):
        for column in sorted(range(len(values)), key=lambda c: (-values[c], c))[:k]:
            result[row, column] = max(values[column], 0)
    return result


@given(SMALL, st.integers(1, 10))
@settings(derandomize=True, max_examples=80, deadline=None)
def test_keep_top_breaks_ties_by_column(matrix, k):
    for form in (sparse.csr_array(matrix), matrix):
        kept = keep_top(form, k)
        np.testing.assert_array_equal(kept.toarray(), slow_top(matrix, k))
        assert (kept.data > 0).all()
        assert all((np.diff(kept.indices[start:stop]) > 0).all() for start, stop in pairwise(kept.indptr))


def test_keep_top_takes_columns_in_any_order():
    matrix = sparse.csr_array((np.array([1, 1, 1], np.float32), np.array([4, 0, 2]), np.array([0, 3])), shape=(1, 5))
    assert keep_top(matrix, 2).indices.tolist() == [0, 2]


@given(SMALL, st.integers(1, 4), st.integers(1, 40), st.sampled_from([0, 1e9]), st.sampled_from([0, 1e9]))
@settings(derandomize=True, max_examples=80, deadline=None)
def test_product_does_not_depend_on_the_blocks_or_how_full_they_are_stored(matrix, k, limit, cost, share):
    left, right = sparse.csr_array(matrix), sparse.csr_array(matrix.T)
    drop = np.arange(len(matrix)) - 1  # the row before; none for the first
    expected = matrix @ matrix.T
    expected[drop[1:] + 1, drop[1:]] = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "BLOCK_WORK", limit)
        patch.setattr(similarity, "SPARSE_COST", {4: cost, 8: cost})
        patch.setattr(similarity, "DENSE_SHARE", share)
        found = top_k_product(left, right, k, drop=drop)
    np.testing.assert_allclose(found.toarray(), slow_top(expected, k), rtol=1e-6)


def test_row_blocks_cover_all_rows_once_and_bound_the_work():
    work = np.array([3, 9, 0, 0, 4, 4, 1])
    assert list(row_blocks(work, 8)) == [(0, 1), (1, 2), (2, 6), (6, 7)]
    assert list(row_blocks(np.array([], int), 8)) == []


def test_work_counts_multiplications():
    left = sparse.csr_array([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    right = sparse.csr_array([[1, 1], [1, 0], [0, 1]])
    assert work_per_row(left, right).tolist() == [3, 0, 1]


def test_unit_rows_leaves_empty_rows_empty():
    np.testing.assert_allclose(unit_rows(sparse.csr_array([[3.0, 4.0], [0.0, 0.0]])).toarray(), [[0.6, 0.8], [0, 0]])
