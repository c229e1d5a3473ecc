"""What a ranker is trained on is what it is served: all features of the service, offline at T and online at T."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_repo import store
from feature_repo.building.snapshots import to_us
from feature_repo.services import RANKER
from feature_repo.workspace import Workspace

TIMES = pa.timestamp("us", tz="UTC")


@pytest.fixture(scope="module")
def pairs(world: Workspace) -> pa.Table:
    """Pairs of the entity table at T, others of known ids, repeated rows, unknown users and items; no stale pair."""
    stamp = f"make_timestamptz({to_us(world.now)})"
    with world.connect() as connection:
        connection.execute(
            f"CREATE VIEW proposed AS SELECT user_id, item_id, max(cut) AS cut FROM read_parquet("
            f"'{world.feature_path('candidates')}/cut=*/*.parquet', hive_partitioning = false) GROUP BY ALL"
        )
        return connection.sql(f"""
            (SELECT user_id, item_id FROM proposed WHERE cut = {stamp} ORDER BY hash(item_id, user_id) LIMIT 920)
            UNION ALL (SELECT user_id, item_id FROM users, items
                WHERE (user_id, item_id) NOT IN (SELECT (user_id, item_id) FROM proposed)
                ORDER BY hash(item_id, user_id) LIMIT 200)
            UNION ALL (SELECT user_id, item_id FROM users, items
                WHERE item_id NOT IN (SELECT item_id FROM events) ORDER BY hash(item_id, user_id) LIMIT 40)
            UNION ALL (SELECT user_id, item_id FROM users, items
                WHERE user_id NOT IN (SELECT user_id FROM events) ORDER BY hash(item_id, user_id) LIMIT 20)
            UNION ALL (SELECT user_id, item_id FROM proposed WHERE cut = {stamp} ORDER BY item_id, user_id LIMIT 5)
            UNION ALL VALUES (-5, 1), (1, -7), (-5, -7)""").to_arrow_table()


@pytest.fixture(scope="module")
def offline(world: Workspace, pairs: pa.Table) -> pa.Table:
    moment = pa.array([world.now] * pairs.num_rows, TIMES)
    return store.historical_features(world, pairs.append_column("event_timestamp", moment), RANKER)


@pytest.fixture(scope="module")
def online(world: Workspace, pairs: pa.Table) -> pa.Table:
    return store.online_features(world, pairs, RANKER)


def test_offline_and_online_agree_exactly(pairs: pa.Table, offline: pa.Table, online: pa.Table) -> None:
    columns = online.column_names[2:]
    assert len(columns) > 290
    assert pairs.num_rows >= 1_000
    assert {name: rows for name in columns if (rows := different_rows(offline[name], online[name]))} == {}


def different_rows(left: pa.ChunkedArray, right: pa.ChunkedArray) -> list[tuple]:
    """Return the first values of two columns that are not the same bits."""
    assert left.type == right.type
    rows = np.flatnonzero(bits(left) != bits(right)).tolist()
    rows += np.flatnonzero(left.is_null().to_numpy() != right.is_null().to_numpy()).tolist()
    return [(row, left[row].as_py(), right[row].as_py()) for row in rows[:3]]


def bits(column: pa.ChunkedArray) -> np.ndarray:
    """Return values as whole numbers where they are floats: -0.0 is not 0.0. Nulls are alike."""
    if not pa.types.is_floating(column.type):
        return np.array(column.to_pylist(), object)
    values = pc.fill_null(column, 0.0).to_numpy()
    return values.view(f"u{values.itemsize}")


def test_bits_tell_zeros_apart() -> None:
    zeros = pa.chunked_array([pa.array([0.0, None], pa.float32())])
    assert different_rows(zeros, pa.chunked_array([pa.array([-0.0, None], pa.float32())])) == [(0, 0.0, -0.0)]
    assert different_rows(zeros, zeros) == []


def test_all_kinds_of_pairs_are_compared(world: Workspace, pairs: pa.Table, offline: pa.Table) -> None:
    """Pairs without any row, items and users without events, windows that have emptied, rows at the last second."""
    with world.connect() as connection:
        connection.register("pairs", pairs)
        new_items = connection.sql("SELECT count(*) FROM pairs WHERE item_id NOT IN (SELECT item_id FROM events)")
        new_users = connection.sql("SELECT count(*) FROM pairs WHERE user_id NOT IN (SELECT user_id FROM events)")
        assert new_items.fetchall()[0][0] >= 40
        assert new_users.fetchall()[0][0] >= 20
    for side in ("user", "item"):
        emptied = pc.and_(pc.equal(offline[f"{side}_events_7d"], 0), pc.greater(offline[f"{side}_events_all"], 0))
        assert pc.sum(emptied).as_py() >= 10


def test_feasts_own_call_agrees(world: Workspace, pairs: pa.Table, offline: pa.Table) -> None:
    opened = store.open_store(world)
    rows = {name: pairs[name].to_pylist() for name in pairs.column_names}
    with store.quiet():
        answer = opened.get_online_features(
            opened.get_feature_service(RANKER), {**rows, "request_time": [world.now] * pairs.num_rows}
        ).to_dict()
    assert [name for name in offline.column_names[3:] if answer[name] != offline[name].to_pylist()] == []


def test_feasts_own_offline_call_agrees(world: Workspace, pairs: pa.Table, offline: pa.Table) -> None:
    """Feast hands lists over row by row and through pandas; the training set takes them by number."""
    moment = pa.array([world.now] * pairs.num_rows, TIMES)
    frame = pairs.append_column("event_timestamp", moment).append_column("request_time", moment)
    opened = store.open_store(world)
    with store.quiet():
        answer = opened.get_historical_features(frame, opened.get_feature_service(RANKER)).to_arrow()
    names = offline.column_names[3:]
    assert [name for name in names if answer[name].to_pylist() != offline[name].to_pylist()] == []


def test_what_is_compared_is_mostly_there(pairs: pa.Table, offline: pa.Table, online: pa.Table) -> None:
    columns = online.column_names[2:]
    there = sum(pc.sum(offline[name].is_valid()).as_py() for name in columns)
    assert there >= 0.8 * len(columns) * pairs.num_rows
    assert sum(pc.sum(online[name].is_valid()).as_py() for name in columns) == there
    union = offline.filter(pc.equal(offline["in_union"], 1.0))
    assert union.num_rows >= 900
    assert sum(pc.sum(union[name].is_valid()).as_py() for name in columns) >= 0.9 * len(columns) * union.num_rows
    nothing = offline.slice(pairs.num_rows - 1)
    flags = [name for name in columns if name == "in_union" or name.endswith("_scorable")]
    assert {nothing[name][0].as_py() for name in flags} == {0.0}
    assert all(nothing[name][0].as_py() is None for name in columns if name not in flags)


def test_pairs_that_nobody_proposed_have_what_was_learned_and_flags(pairs: pa.Table, offline: pa.Table) -> None:
    union = offline["in_union"].to_numpy() == 1.0
    assert union.sum() >= 900
    assert (~union).sum() >= 240
    others = offline.filter(pa.array(~union))
    assert others["als_score"].null_count == others["als_rank"].null_count == others.num_rows
    assert set(others["als_scorable"].to_pylist()) == {0.0}
    for name in ("als_dot", "als_cosine", "user_als_norm", "item_als_norm", "cosine_knn_similarity_sum"):
        assert others[name].null_count < 0.5 * others.num_rows
    scored = offline.filter(pa.array(union))
    assert [flag == 1.0 for flag in scored["als_scorable"].to_pylist()] == scored["als_zscore"].is_valid().to_pylist()


def test_columns_have_their_declared_types(offline: pa.Table) -> None:
    assert offline.schema.field("user_events_7d").type == pa.int32()
    assert offline.schema.field("item_repeat_share").type == pa.float32()
    assert offline.schema.field("als_score").type == pa.float32()
    assert offline.schema.field("user_days_since_last_event").type == pa.float32()


def test_a_pair_of_an_older_cut_is_no_candidate_now(world: Workspace) -> None:
    with world.connect() as connection:
        stale = connection.sql(f"""
            SELECT user_id, item_id FROM read_parquet('{world.feature_path("candidates")}/cut=*/*.parquet',
                hive_partitioning = false) GROUP BY ALL
            HAVING max(cut) < make_timestamptz({to_us(world.now)}) LIMIT 20""").to_arrow_table()
    assert stale.num_rows
    moment = pa.array([world.now] * stale.num_rows, TIMES)
    then = store.historical_features(world, stale.append_column("event_timestamp", moment), RANKER)
    now = store.online_features(world, stale, RANKER)
    assert then["als_score"].to_pylist() == now["als_score"].to_pylist()
