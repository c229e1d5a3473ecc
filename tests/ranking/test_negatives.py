"""Negative schemes: what each one may draw, that the future does not reach it, that nothing judged is sampled."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.columns import CONSUMING, ITEM, TARGET_WEIGHT, TIME, USER
from feature_repo.config import NegativesConfig, RankerConfig, load_config
from feature_repo.errors import ConfigError
from feature_repo.periods import Window
from feature_repo.workspace import Workspace
from ranking.negatives import first_free, learned_rows, quotas
from ranking.train import read_materials, train
from ranking.training_set import Spine, read_spine

USERS = range(1, 31)
# Item 1 was bought by all, items 2 to 40 by one each; everyone consumes item 50 before the cut.
BEFORE = [(user, 1, 1.0, "buy") for user in range(101, 201)] + [(100 + n, n, 2.0, "buy") for n in range(2, 41)]
SEEN = [(user, 50, 3.0, "dislike") for user in USERS]
LABELS = [(user, 5, 12.0, "buy") for user in USERS]
SHOWN = [(user, item, 13.0, "view") for user in USERS for item in (5, 7, 8, 50, 60)]  # item 60 is new after the cut
LATER = [(user, item, 25.0, "buy") for user in USERS for item in range(20, 40)]
LOG = [*BEFORE, *SEEN, *LABELS, *SHOWN]


@pytest.fixture
def rows(write_log, day, tmp_path: Path) -> Callable[..., Spine]:
    """Draw by shares from a log whose users have the candidates 5 (bought) and 10 to 19."""
    pairs = [(user, item) for user in USERS for item in (5, *range(10, 20))]
    user, item = (pa.array(ids, pa.int64()) for ids in zip(*pairs, strict=True))
    candidates = pa.table({"user_id": user, "item_id": item})
    window = Window(day(10), day(20))

    def draw(log: list, *, repeats: bool = False, folder: str = "log", number: int = 0, **settings: object) -> Spine:
        config = RankerConfig(seed=1, **settings)
        lake = write_log(tmp_path / folder, log)
        with lake.connect(load_config()) as connection:
            spine = read_spine(connection, candidates, window, [0.0, 1.0], before=day(20))
            return learned_rows(connection, spine, window, config, number, allow_repeats=repeats)

    return draw


def drawn(spine: Spine) -> list[tuple[int, int]]:
    table = spine.rows.filter(pa.array(spine.labels == 0))
    return list(zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True))


def test_candidates_alone_are_what_they_were(rows: Callable[..., Spine]) -> None:
    spine = rows(LOG)
    assert len(drawn(spine)) == 30 * 10
    assert {item for _, item in drawn(spine)} == set(range(10, 20))


def test_random_items_are_known_unconsumed_no_labels_and_even(rows: Callable[..., Spine]) -> None:
    spine = rows(LOG, negatives={"random": 1.0}, negatives_per_user=10)
    pairs = drawn(spine)
    items = np.array([item for _, item in pairs])
    assert len(pairs) == len(set(pairs)) == 30 * 10
    assert not set(items) & {5, 50, 60}
    assert set(items) == set(range(1, 41)) - {5}
    assert np.bincount(items)[1] < 20
    assert spine.rows["user_id"].to_pylist() == sorted(spine.rows["user_id"].to_pylist())
    assert spine.labels.sum() == 30
    assert spine.rows.schema.field("label").type == pa.int32()


def test_popular_items_are_drawn_by_their_target_events(rows: Callable[..., Spine]) -> None:
    items = [item for _, item in drawn(rows(LOG, negatives={"popular": 1.0}, negatives_per_user=1))]
    assert items.count(1) > 12
    assert 50 not in items


def test_impressions_are_those_of_the_window_that_no_target_event_joined(rows: Callable[..., Spine]) -> None:
    spine = rows(LOG, negatives={"impressions": 1.0}, negatives_per_user=10)
    assert set(drawn(spine)) == {(user, item) for user in USERS for item in (7, 8)}
    assert (1, 50) in drawn(rows(LOG, repeats=True, folder="again", negatives={"impressions": 1.0}))
    assert len(drawn(rows(LOG, folder="one", negatives={"impressions": 1.0}, negatives_per_user=1))) == 30


def test_shares_mix_and_the_seed_decides(rows: Callable[..., Spine]) -> None:
    mixture = {"negatives": {"candidates": 0.5, "random": 0.3, "impressions": 0.2}}
    spine = rows(LOG, **mixture)
    counts = np.unique([user for user, _ in drawn(spine)], return_counts=True)[1]
    assert counts.max() <= 10
    assert counts.min() >= 7  # 5 candidates and 2 impressions; random items may repeat them
    assert spine.rows.equals(rows(LOG, folder="again", **mixture).rows)
    assert not spine.rows.equals(rows(LOG, folder="other", number=1, **mixture).rows)


@pytest.mark.parametrize("scheme", ["random", "popular", "impressions"])
def test_what_happens_after_the_window_reaches_no_draw(rows: Callable[..., Spine], scheme: str) -> None:
    settings = {"negatives": {"candidates": 0.5, scheme: 0.5}, "negatives_per_user": 8}
    ours, theirs = rows(LOG, **settings), rows([*LOG, *LATER], folder="later", **settings)
    assert ours.rows.equals(theirs.rows)


def test_popularity_in_the_label_window_reaches_no_draw(rows: Callable[..., Spine]) -> None:
    settings = {"negatives": {"popular": 1.0}, "negatives_per_user": 8}
    bought = [(user, item, 12.0, "buy") for user in range(101, 201) for item in range(20, 40)]
    assert rows(LOG, **settings).rows.equals(rows([*LOG, *bought], folder="bought", **settings).rows)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_first_free_is_the_slow_obvious_one(data: st.DataObject) -> None:
    users, width = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    cell = st.integers(0, users * width - 1)
    cells, taken = (data.draw(st.lists(cell, max_size=30)) for _ in range(2))
    quota = data.draw(st.lists(st.integers(0, 4), min_size=users, max_size=users))
    expected: list[int] = []
    for user in range(users):
        own = [c for c in dict.fromkeys(cells) if c // width == user and c not in taken]
        expected += own[: quota[user]]
    found = first_free(np.array(cells, np.int64), np.array(quota), np.array(taken, np.int64), width)
    assert found.tolist() == expected


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=4), st.lists(st.integers(0, 500), max_size=5))
def test_quotas_add_up(weights: list[float], total: list[int]) -> None:
    shares = [weight / sum(weights) for weight in weights]
    found = quotas(shares, np.array(total, np.int64))
    assert (found >= 0).all()
    assert found.sum(axis=0).tolist() == total


def test_shares_that_do_not_add_up_are_an_error_of_the_file(tmp_path: Path, tiny_config: Path) -> None:
    raw = yaml.safe_load(tiny_config.read_text())
    path = tmp_path / "rankhouse.yaml"
    path.write_text(yaml.safe_dump(raw | {"ranker": {"negatives": {"random": 0.5}}}))
    with pytest.raises(ConfigError, match="shares that add up to 1"):
        load_config(path)


MIXED = NegativesConfig(candidates=0.4, random=0.2, popular=0.2, impressions=0.2)


def mixed(workspace: Workspace) -> Workspace:
    ranker = workspace.config.ranker.model_copy(update={"negatives": MIXED})
    config = workspace.config.model_copy(update={"ranker": ranker})
    return Workspace(workspace.data_dir, config, workspace.config_path)


def test_the_chain_learns_from_pairs_outside_the_entity_table_and_judges_all_candidates(trained: Workspace) -> None:
    plain, other = read_materials(trained), read_materials(mixed(trained))
    in_union = other.encoding.names.index("in_union")
    proposed = [other.encoding.names.index(name) for name in ("als_rank", "als_score", "sources_count")]
    for examples in (other.train, other.validation):
        outside = examples.matrix[:, in_union] == 0
        assert 0.1 < outside.mean() < 0.9
        assert np.isnan(examples.matrix[outside][:, proposed]).all()
        assert (examples.labels[outside] == 0).all()
    assert plain.train.matrix[:, in_union].all()
    assert (other.train.labels > 0).sum() == (plain.train.labels > 0).sum()
    numbers = [n for n, column in enumerate(plain.encoding.columns) if column.kind == "number"]
    np.testing.assert_array_equal(other.judge.matrix[:, numbers], plain.judge.matrix[:, numbers])
    np.testing.assert_array_equal(other.judge.hit, plain.judge.hit)
    np.testing.assert_array_equal(other.users.to_numpy(), plain.users.to_numpy())


def test_the_test_window_reaches_no_draw_and_a_model_is_the_same_twice(trained: Workspace, copy_of: Callable) -> None:
    ours, theirs = copy_of(trained), copy_of(trained)
    start = np.datetime64(theirs.periods.test.start.replace(tzinfo=None), "us")
    for path in map(Path, theirs.lake.paths("events")):
        table = pq.read_table(path)
        rows = np.arange(table.num_rows)
        later = rows[table["event_timestamp"].to_numpy() >= start]
        rows[later] = later[::-1]
        place = table.column_names.index("item_id")
        pq.write_table(table.set_column(place, "item_id", table["item_id"].take(rows)), path)
    assert train(mixed(ours)) == train(mixed(theirs))  # a model's name ends in a digest of its trees


def test_text_ids_are_drawn_alike() -> None:
    import duckdb

    cut = datetime(2024, 1, 11, tzinfo=UTC)
    log = [("é", "x", -2, 1.0), ("b", "y", -2, 1.0), ("b", "z", -1, 0.0), ("é", "b", 1, 1.0), ("é", "y", 1, 0.0)]
    users, items, days, weights = zip(*log, strict=True)
    times = pa.array([cut + timedelta(days=n) for n in days], pa.timestamp("us", tz="UTC"))
    consuming = pa.array([weight > 0 for weight in weights])
    events = pa.table([users, items, times, weights, consuming], [USER, ITEM, TIME, TARGET_WEIGHT, CONSUMING])
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("events", events)
        window = Window(cut, cut + timedelta(days=5))
        candidates = pa.table({USER: ["é", "é"], ITEM: ["b", "z"]})
        spine = read_spine(connection, candidates, window, [0.0, 1.0], before=window.end)
        config = RankerConfig(negatives={"random": 0.5, "impressions": 0.5}, negatives_per_user=4)
        found = learned_rows(connection, spine, window, config, 0, allow_repeats=False)
    assert drawn(found) == [("é", "y"), ("é", "z")]
