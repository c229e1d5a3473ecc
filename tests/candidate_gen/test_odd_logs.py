"""All shipped sources on logs that are far from MovieLens: nothing fails, and everyone who can be served is served."""

from __future__ import annotations

import numpy as np
import pytest

from candidate_gen.configured import configured_sources
from candidate_gen.pairs import NO_RANK, Pairs
from candidate_gen.pipeline import Stage
from feature_repo.config import load_config

CONFIG = load_config().candidates


def proposals(log, *, allow_repeats: bool = False) -> tuple[Stage, Pairs]:
    depths = {name: source.depth for name, source in CONFIG.sources.items()}
    stage = Stage.fit(log, configured_sources(CONFIG), depths, allow_repeats=allow_repeats, threads=2)
    [pairs] = stage.batches(np.append(np.arange(log.shape[0], dtype=np.int32), np.int32(-1)))
    for name, ranks in pairs.ranks.items():
        assert (ranks > 0).all(), name
        assert not np.isinf(pairs.scores[name]).any(), name
    return stage, pairs


def lists(pairs: Pairs) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {user: [] for user in range(pairs.users)}
    for user, item in zip(pairs.row.tolist(), pairs.item.tolist(), strict=True):
        found[user].append(item)
    return found


def test_one_event_a_user(read_log):
    log = read_log([(f"u{number}", f"i{number % 3}", number / 10, 1.0) for number in range(30)])
    _, pairs = proposals(log)
    assert {len(items) for items in lists(pairs).values()} == {2, 3}  # all but the own one; an unknown user gets all


def test_one_event_at_all(read_log):
    _, pairs = proposals(read_log([("a", "x", 1.0, 1.0)]))
    assert lists(pairs) == {0: [], 1: [0]}


def test_everything_at_one_moment(read_log):
    rng = np.random.default_rng(1)
    log = read_log([(int(user), int(item), 1.0, 1.0) for user, item in rng.integers(0, 20, (150, 2))])
    _, pairs = proposals(log)
    assert min(len(items) for items in lists(pairs).values()) > 0


def test_everyone_comes_back_to_the_same_items(read_log):
    events = [(user, item, day / 24, 1.0) for user in "abcd" for item in "xyz"[: 2 + (user > "b")] for day in range(20)]
    stage, pairs = proposals(read_log(events), allow_repeats=True)
    assert "repeat" in stage.sources
    assert lists(pairs)[0] == [0, 1, 2]
    first = {int(item) for row, item, rank in zip(pairs.row, pairs.item, pairs.ranks["repeat"], strict=True)
             if row == 0 and rank != NO_RANK}  # fmt: skip
    assert first == {0, 1}


def test_nobody_has_liked_anything(read_log):
    log = read_log([(user, item, 1.0, 0.0) for user in range(5) for item in range(user + 1)])
    _, pairs = proposals(log, allow_repeats=True)
    assert len(pairs.row) > 0  # sources of all events have something to say
    assert all(np.isnan(pairs.scores[name]).all() for name in ("als", "bm25_knn", "user_knn", "covisitation", "ease"))


@pytest.mark.parametrize("others", [0, 3])
def test_attributes_that_say_nothing(read_log, others):
    events = [(f"u{number % 7}", f"i{number % 5}", number / 3, 1.0) for number in range(40)]
    users = {"user_id": [f"u{number}" for number in range(7 + others)], "plan": [None] * (7 + others)}
    items = {"item_id": [f"i{number}" for number in range(5 + others)], "text": [""] * (5 + others)}
    _, pairs = proposals(read_log(events, users=users, items=items))
    assert pairs.users == 8 + others


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_thousands_of_half_lives(read_log):
    # Users who come back after decades to items of another time.
    events = [(f"u{number % 40}", f"i{number // 20}", number * 25.0, 1.0) for number in range(800)]
    proposals(read_log(events, as_of=20_000.0))  # no score overflows
