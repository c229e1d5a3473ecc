from __future__ import annotations

import numpy as np
import pyarrow as pa

EVENTS = [
    ("u9", "b", 3.0, 1.0),
    ("u10", "a", 1.0, 0.5),
    ("u9", "a", 2.0, 0.0),
    ("u9", "b", 5.0, 1.0),
    ("z", "q", 7.0, 1.0),
]


def test_an_event_at_the_cut_is_not_read_and_ids_ascend(read_log):
    log = read_log(EVENTS, as_of=7.0)
    assert log.user_ids.to_pylist() == ["u10", "u9"]
    assert log.item_ids.to_pylist() == ["a", "b"]
    assert [(log.user_ids[u].as_py(), log.item_ids[i].as_py()) for u, i in zip(log.user, log.item, strict=True)] == [
        ("u10", "a"), ("u9", "a"), ("u9", "b"), ("u9", "b"),
    ]  # fmt: skip


def test_matrices_hold_what_was_seen_and_what_was_liked(read_log):
    log = read_log(EVENTS, as_of=7.0)
    assert log.seen.toarray().tolist() == [[True, False], [True, True]]
    assert log.positives.toarray().tolist() == [[0.5, 0.0], [0.0, 2.0]]
    assert log.events_per_user.tolist() == [1, 3]


def test_passive_events_weigh_less_than_any_target_or_alone(read_log):
    log = read_log(EVENTS, as_of=7.0)
    assert log.has_passive
    assert log.weight.tolist() == [0.5, 0.0, 1.0, 1.0]
    assert log.with_passive(targets=True).weight.tolist() == [0.5, 0.2 * 0.5, 1.0, 1.0]
    alone = log.with_passive(targets=False)
    assert alone.weight.tolist() == [0.0, 1.0, 0.0, 0.0]
    assert (alone.seen != log.seen).nnz == 0
    assert not read_log(EVENTS[3:], as_of=9.0).has_passive


def test_weights_halve_with_age(read_log):
    log = read_log(EVENTS, as_of=7.0)
    np.testing.assert_allclose(log.decayed(2.0).toarray(), [[0.5 / 8, 0.0], [0.0, 0.25 + 0.5]], rtol=1e-6)
    assert log.decayed(None) is log.positives


def test_unknown_ids_are_minus_one(read_log):
    log = read_log(EVENTS, as_of=7.0)
    assert log.encode_users(pa.array(["z", "u9", None])).tolist() == [-1, 1, -1]
    assert log.encode_items(pa.array(["q", "b"])).tolist() == [-1, 1]


def test_what_is_known_by_attributes_has_a_code_and_attributes_keep_code_order(read_log):
    items = {"item_id": ["c", "a"], "title": ["Sea", "Air"]}
    log = read_log(EVENTS, as_of=7.0, items=items, users={"user_id": ["u9", "new"], "age": [30, 7]})
    assert log.item_ids.to_pylist() == ["a", "b", "c"]
    assert log.items["title"].to_pylist() == ["Air", None, "Sea"]
    assert log.user_ids.to_pylist() == ["new", "u10", "u9"]
    assert log.users["age"].to_pylist() == [7, None, 30]


def test_an_empty_log_has_no_codes(read_log):
    log = read_log(EVENTS, as_of=0.5)
    assert log.shape == (0, 0)
    assert log.seen.shape == log.positives.shape == (0, 0)
