from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from candidate_gen.configured import configured_sources
from candidate_gen.entity_table import read, write_candidates
from candidate_gen.interactions import read_interactions
from candidate_gen.learned_views import HISTORY, LEARNED_VIEWS
from candidate_gen.partitions import partition_path, read_partition

START = datetime(2024, 1, 1, tzinfo=UTC)
CUT = START + timedelta(days=30)


@pytest.fixture(scope="module")
def events(random_events):
    busy = [("busy", f"x{number:02}", number / 4, "buy") for number in range(HISTORY + 9)]
    return [*random_events(3), *busy, ("busy", "x01", 20.0, "buy"), ("busy", "x02", 20.0, "skip")]


@pytest.fixture(scope="module")
def workspace(make_workspace, events, tmp_path_factory):
    workspace = make_workspace(tmp_path_factory.mktemp("learned") / "d", events, known=["cold"])
    write_candidates(workspace, [CUT], "all")
    return workspace


def rows(workspace, view: str, key: str) -> dict[str, dict]:
    table = read_partition(workspace, view, CUT, None, command="")
    assert set(table["cut"].to_pylist()) == set(table["event_timestamp"].to_pylist()) == {CUT}
    return {row[key]: row for row in table.to_pylist()}


def test_a_dot_product_of_published_vectors_is_the_score_in_the_entity_table(workspace):
    users, items = rows(workspace, "user_vectors", "user_id"), rows(workspace, "item_vectors", "item_id")
    scored = 0
    for pair in read(workspace, CUT, ["user_id", "item_id", "als_score"]).to_pylist():
        user, item = users[pair["user_id"]], items[pair["item_id"]]
        if pair["als_score"] is None:
            assert user["als_vector"] is None or item["als_vector"] is None
            continue
        scored += 1
        assert np.dot(user["als_vector"], item["als_vector"]) == pytest.approx(pair["als_score"], rel=1e-4, abs=1e-6)
        assert user["als_norm"] == pytest.approx(np.linalg.norm(user["als_vector"]), rel=1e-5)
    assert scored > 20
    assert users["cold"]["als_vector"] is users["cold"]["als_norm"] is None


def test_neighbours_are_the_most_similar_other_items(workspace):
    with workspace.connect() as connection:
        log = read_interactions(connection, CUT)
    similarity = configured_sources(workspace.config.candidates)["knn"].fit(log).similarity_.toarray()
    ids = log.item_ids.to_pylist()
    published = rows(workspace, "item_neighbours", "item_id")
    assert list(published) == ids
    for number, item in enumerate(ids):
        others = [other for other in range(len(ids)) if other != number and similarity[number, other] > 0]
        others.sort(key=lambda other: (-similarity[number, other], other))
        assert published[item]["knn_neighbours"] == [ids[other] for other in others]
        assert published[item]["knn_weights"] == [similarity[number, other] for other in others]


def test_histories_hold_the_last_liked_items_with_their_latest_times(workspace, events):
    published = rows(workspace, "user_history", "user_id")
    for user, row in published.items():
        latest = {}
        for owner, item, day, kind in events:
            if owner == user and kind == "buy" and day < 30:
                latest[item] = max(latest.get(item, -1.0), day)
        expected = sorted(latest, key=lambda item: (-latest[item], item))[:HISTORY]
        assert row["history_items"] == expected
        assert row["history_times"] == [START + timedelta(days=latest[item]) for item in expected]
        assert row["history_weights"] == [1.0] * len(expected)
    assert len(published["busy"]["history_items"]) == HISTORY
    assert published["busy"]["history_items"][0] == "x01"
    assert published["cold"]["history_items"] == []


def test_types_are_those_that_a_store_reads(workspace):
    schema = read_partition(workspace, "user_history", CUT, None, command="").schema
    assert schema.field("history_times").type == pa.list_(pa.timestamp("us", tz="UTC"))
    assert read_partition(workspace, "item_vectors", CUT, None, command="").schema.field("als_vector").type == pa.list_(
        pa.float32()
    )


def test_the_future_changes_no_byte(workspace, make_workspace, events, tmp_path):
    later = [("aa", "aa", 30.0, "buy"), ("busy", "x00", 31.0, "buy")]
    other = make_workspace(tmp_path / "d", [event for event in events if event[2] < 30] + later, known=["cold"])
    write_candidates(other, [CUT], "all")
    for view in LEARNED_VIEWS:
        assert partition_path(other, view, CUT).read_bytes() == partition_path(workspace, view, CUT).read_bytes()
