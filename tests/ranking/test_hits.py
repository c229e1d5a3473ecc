from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from feature_repo.periods import Window
from ranking.beyond_accuracy import Catalogue
from ranking.hits import Gathered, Hits, hits_of
from ranking.judging import of_items, score_hits, score_lists
from ranking.segments import ItemClass
from ranking.truth import Truth

ITEMS = ["", "a", "é", "item 3", "z"]
COUNTS = np.arange(len(ITEMS))
CATALOGUE = Catalogue(pa.array(ITEMS), COUNTS, COUNTS, csr_matrix((len(ITEMS), 1), dtype=np.int32), 9)
WINDOW = Window(*([np.datetime64("2024-01-01").astype(object)] * 2))
USERS = [3, 5, 8, 9]
# Nobody but 3, 5, 8 and 9 is judged; "new" had no event before the cut, so it is in no truth and in no catalogue.
LISTS = st.dictionaries(st.sampled_from([1, *USERS, 11]), st.permutations([*ITEMS, "new"]), max_size=6)
WANTED = st.lists(st.sets(st.sampled_from(ITEMS), min_size=1), min_size=len(USERS), max_size=len(USERS))


def truth_of(wanted: list[set[str]]) -> Truth:
    pairs = [(user, item) for user, items in enumerate(wanted) for item in sorted(items)]
    user, items = zip(*pairs, strict=True)
    return Truth(WINDOW, pa.array(USERS), np.array(user), pa.array(items), catalogue=len(ITEMS))


def table_of(lists: dict[int, list[str]]) -> pa.Table:
    rows = [(user, item, rank) for user in sorted(lists) for rank, item in enumerate(lists[user][: user % 5 + 1], 1)]
    users, items, ranks = zip(*rows, strict=True) if rows else ((), (), ())
    columns = pa.array(users, pa.int64()), pa.array(items, pa.string()), pa.array(ranks, pa.int32())
    return pa.table(dict(zip(("user_id", "item_id", "rank"), columns, strict=True)))


def equal(one: Hits, two: Hits) -> bool:
    return np.array_equal(one.matrix(3), two.matrix(3)) and np.array_equal(one.shown, two.shown)


@settings(derandomize=True, max_examples=80, deadline=None)
@given(LISTS, WANTED)
def test_hits_are_those_of_the_truth(lists: dict[int, list[str]], wanted: list[set[str]]) -> None:
    truth, table = truth_of(wanted), table_of(lists)
    found = hits_of(table, truth, CATALOGUE, 2)
    assert np.array_equal(found.matrix(7), truth.hits(table, 7))
    for place, user in enumerate(USERS):
        first = (lists[user][: user % 5 + 1] if user in lists else [])[:2]
        assert found.shown[place].tolist() == [ITEMS.index(i) if i in ITEMS else -1 for i in [*first, "new", "new"][:2]]
    first = [
        row for row in table.to_pylist() if row["user_id"] in USERS and row["rank"] <= 2 and row["item_id"] in ITEMS
    ]
    assert found.lists(truth, CATALOGUE).to_pylist() == first


@settings(derandomize=True, max_examples=80, deadline=None)
@given(LISTS, WANTED, st.sets(st.sampled_from(ITEMS)))
def test_on_a_class_of_items_hits_are_those_of_its_truth(
    lists: dict[int, list[str]], wanted: list[set[str]], chosen: set[str]
) -> None:
    truth, table = truth_of(wanted), table_of(lists)
    item_class = ItemClass("some", np.array([item in chosen for item in ITEMS]))
    some = of_items(truth, CATALOGUE, item_class)
    if len(some.users):
        ours = hits_of(table, truth, CATALOGUE, 2).on(item_class.chosen, truth.position(some.users))
        expected = score_lists(table, some, 2)
        assert {name: value.tolist() for name, value in score_hits(ours, some, 2).items()} == {
            name: value.tolist() for name, value in expected.items()
        }


@settings(derandomize=True, max_examples=80, deadline=None)
@given(LISTS, WANTED, st.integers(1, 9))
def test_gathered_in_parts_or_at_once(lists: dict[int, list[str]], wanted: list[set[str]], size: int) -> None:
    truth, table = truth_of(wanted), table_of(lists)
    gathered = Gathered(truth, CATALOGUE, 2)
    for start in range(0, max(table.num_rows, 1), size):
        part = table.slice(start, size)
        users, items = (part[name].combine_chunks() for name in ("user_id", "item_id"))
        gathered.add(truth.position(users), items, {"one": part["rank"].to_numpy()})
    assert equal(gathered.rankings()["one"], hits_of(table, truth, CATALOGUE, 2))
