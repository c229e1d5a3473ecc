from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from feature_repo.config import load_config
from feature_repo.periods import Window
from feature_repo.workspace import Workspace
from ranking.beyond_accuracy import Catalogue, beyond_accuracy, read_catalogue
from ranking.evaluate import source_lists
from ranking.hits import hits_of
from ranking.truth import Truth, read_truth

CATEGORIES = [{0}, {0, 1}, {1}, set(), {0, 1, 2}]
CATALOGUE = Catalogue(
    items=pa.array(["a", "b", "c", "d", "e"]),
    targets=np.array([10, 5, 2, 0, 1]),
    consumers=np.array([8, 4, 2, 0, 1]),
    categories=csr_matrix(np.array([[place in row for place in range(3)] for row in CATEGORIES], np.int32)),
    users=15,
)


def truth_of(users: list[int]) -> Truth:
    window = Window(*([np.datetime64("2024-01-01").astype(object)] * 2))
    return Truth(window, pa.array(users), np.arange(len(users)), pa.array(["a"] * len(users)), catalogue=4)


def lists_of(rows: list[tuple[int, str, int]]) -> pa.Table:
    users, items, ranks = zip(*rows, strict=True)
    return pa.table({"user_id": pa.array(users), "item_id": pa.array(items), "rank": pa.array(ranks, pa.int32())})


def measured(lists: pa.Table, truth: Truth, catalogue: Catalogue, k: int) -> dict[str, float | None]:
    return beyond_accuracy(hits_of(lists, truth, catalogue, k).shown, truth, catalogue, k)


def jaccard(left: str, right: str) -> float:
    one, two = (CATEGORIES["abcde".index(item)] for item in (left, right))
    return 1 - len(one & two) / len(one | two)


def test_the_measures_equal_the_textbook() -> None:
    shown = {1: ["a", "b", "e"], 2: ["c"], 4: ["d", "b"]}
    rows = [(user, item, rank + 1) for user, items in shown.items() for rank, item in enumerate(items)]
    rows += [(1, "c", 4), (9, "c", 1)]  # beyond the list's length; of nobody who is judged
    found = measured(lists_of(rows), truth_of([1, 2, 3, 4]), CATALOGUE, 3)
    information = {item: -math.log2((count + 1) / 16) for item, count in zip("abcde", CATALOGUE.consumers, strict=True)}
    assert found["coverage@3"] == 5 / 4
    assert found["novelty@3"] == pytest.approx(
        np.mean([np.mean([information[i] for i in row]) for row in shown.values()])
    )
    targets = dict(zip("abcde", CATALOGUE.targets, strict=True))
    assert found["popularity@3"] == pytest.approx(
        np.mean([np.mean([targets[i] for i in row]) for row in shown.values()])
    )
    # Only the first list has pairs of which both items have categories.
    assert found["diversity@3"] == pytest.approx(np.mean([jaccard(*pair) for pair in combinations(shown[1], 2)]))


def test_without_lists_or_categories_nothing_is_made_up() -> None:
    empty = lists_of([(9, "a", 1)])
    assert measured(empty, truth_of([1]), CATALOGUE, 3)["novelty@3"] == 0.0
    bare = Catalogue(CATALOGUE.items, CATALOGUE.targets, CATALOGUE.consumers, csr_matrix((5, 1), dtype=np.int32), 15)
    assert measured(lists_of([(1, "a", 1)]), truth_of([1]), bare, 3)["diversity@3"] is None


def test_the_catalogue_counts_what_lies_before_the_cut(write_log, day, tmp_path: Path) -> None:
    log = [(1, 1, 1.0, "buy"), (2, 1, 2.0, "click"), (2, 1, 3.0, "buy"), (1, 2, 4.0, "view"), (3, 3, 9.0, "buy")]
    with write_log(tmp_path, log).connect(load_config()) as connection:
        catalogue = read_catalogue(connection, day(9.0))
    assert catalogue.items.to_pylist() == [1, 2]
    assert (catalogue.targets.tolist(), catalogue.consumers.tolist(), catalogue.users) == ([3, 0], [2, 0], 2)
    assert catalogue.categories.nnz == 0
    assert catalogue.places(pa.array([2, 7, 1])).tolist() == [1, -1, 0]


def test_the_tiny_world_has_categories_and_numbers_in_range(trained: Workspace) -> None:
    from candidate_gen import entity_table

    test = trained.periods.test
    with trained.connect() as connection:
        catalogue = read_catalogue(connection, test.start)
        truth = read_truth(connection, test, allow_repeats=False)
    lists = source_lists(entity_table.read(trained, test.start), "als")
    found = measured(lists, truth, catalogue, 10)
    assert 0 < found["coverage@10"] <= 1
    assert 0 < found["diversity@10"] < 1
    assert found["novelty@10"] > 0
    assert 0 < found["popularity@10"] <= catalogue.targets.max()
