from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.config import RankerConfig, load_config
from feature_repo.errors import DataError
from feature_repo.periods import Window
from ranking.encoding import learn_encoding
from ranking.training_set import Spine, compact, read_spine, read_training_spines, rows_to_learn, user_groups

CANDIDATES = pa.table(
    {"user_id": pa.array([2, 1, 1, 1, 2], pa.int64()), "item_id": pa.array([9, 3, 1, 2, 8], pa.int64())}
)
LOG = [(1, 1, 12.0, "buy"), (1, 7, 12.0, "buy"), (3, 1, 13.0, "buy"), (2, 5, 14.0, "view"), (1, 2, 30.0, "buy")]


def spine_of(labels: list[list[int]]) -> Spine:
    users = [user for user, row in enumerate(labels) for _ in row]
    flat = [label for row in labels for label in row]
    return Spine(pa.table({"user_id": users, "label": pa.array(flat, pa.int32())}), lost=0)


def test_spine_labels_candidates_and_counts_what_no_source_proposed(write_log, day, tmp_path: Path) -> None:
    with write_log(tmp_path, LOG).connect(load_config()) as connection:
        spine = read_spine(connection, CANDIDATES, Window(day(10), day(20)), [0.0, 1.0], before=day(20))
    pairs = spine.rows.select(["user_id", "item_id", "label"]).to_pylist()
    assert [tuple(row.values()) for row in pairs] == [(1, 1, 1), (1, 2, 0), (1, 3, 0), (2, 8, 0), (2, 9, 0)]
    assert set(spine.rows["event_timestamp"].to_pylist()) == {day(10)}
    assert spine.rows.schema.field("event_timestamp").type == pa.timestamp("us", tz="UTC")
    assert spine.groups.sizes.tolist() == [3, 2]
    assert spine.lost == 1


def test_candidates_without_any_positive_are_an_error(write_log, day, tmp_path: Path) -> None:
    with (
        write_log(tmp_path, [(1, 7, 12.0, "buy")]).connect(load_config()) as connection,
        pytest.raises(DataError, match="at least one that is consumed"),
    ):
        read_spine(connection, CANDIDATES, Window(day(10), day(20)), [0.0, 1.0], before=day(20))


def test_training_cuts_without_any_positive_are_left_out(write_log, day, tmp_path: Path) -> None:
    windows = [Window(day(10), day(20)), Window(day(20), day(30))]
    with write_log(tmp_path, [(1, 1, 22.0, "buy"), (1, 7, 12.0, "buy")]).connect(load_config()) as connection:
        spines, kept = read_training_spines(connection, [CANDIDATES] * 2, windows, [0.0, 1.0], before=day(30))
        assert kept == windows[1:]
        assert [spine.labels.sum() for spine in spines] == [1]
        with pytest.raises(DataError, match="at least one that is consumed"):
            read_training_spines(connection, [CANDIDATES], windows[:1], [0.0, 1.0], before=day(20))


def test_users_without_a_positive_are_dropped_unless_kept() -> None:
    spine = spine_of([[0, 1, 0], [0, 0], [2]])
    kept = rows_to_learn(spine, RankerConfig(), seed=0)
    assert kept.tolist() == [True, True, True, False, False, True]
    assert rows_to_learn(spine, RankerConfig(keep_users_without_positives=True), seed=0).all()


def test_sampling_is_seeded_bounded_and_keeps_positives() -> None:
    rng = np.random.default_rng(0)
    spine = spine_of([[1, *(rng.random(40) < 0.1).astype(int).tolist()] for _ in range(30)])
    config = RankerConfig(users_per_cut=12, negatives_per_user=5, seed=3)
    kept = rows_to_learn(spine, config, seed=0)
    np.testing.assert_array_equal(kept, rows_to_learn(spine, config, seed=0))
    assert (kept != rows_to_learn(spine, config, seed=1)).any()
    users, labels = spine.rows["user_id"].to_numpy(), spine.labels
    assert len(np.unique(users[kept])) == 12
    assert (np.bincount(users[kept & (labels == 0)]) <= 5).all()
    chosen = np.isin(users, users[kept])
    np.testing.assert_array_equal(kept[chosen & (labels > 0)], True)


def test_user_groups_take_text_ids() -> None:
    assert user_groups(pa.table({"user_id": ["a", "a", "b", "é"]})).sizes.tolist() == [2, 1, 1]


def test_compact_columns_are_encoded_as_the_whole_ones_are() -> None:
    table = pa.table(
        {
            "whole": pa.array([2**53 + 1, None, 3]),
            "part": pa.array([0.1, float("nan"), None]),
            "flag": pa.array([True, None, False]),
            "none": pa.nulls(3),
            "text": pa.array(["b", None, "a"]),
            "coded": pa.array(["x", "y", None]).dictionary_encode(),
            "list": pa.array([[1], [], None]),
        }
    )
    small = compact(table)
    assert small.column_names == ["whole", "part", "flag", "none", "text", "coded"]
    encoding = learn_encoding([table])
    assert encoding == learn_encoding([small])
    np.testing.assert_array_equal(encoding.encode(table), encoding.encode(small))
    assert small["whole"].type == pa.float32()
