from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from candidate_gen.configured import configured_sources
from candidate_gen.entity_table import read, write_candidates
from candidate_gen.interactions import read_interactions
from candidate_gen.learned_views import HISTORY, NEIGHBOURS
from candidate_gen.partitions import partition_path, read_partition
from feature_repo.errors import ConfigError
from feature_repo.first_stage import learned_fields

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
    assert set(table[f"{view}_cut"].to_pylist()) == set(table["event_timestamp"].to_pylist()) == {CUT}
    return {row[key]: row for row in table.to_pylist()}


def test_a_dot_product_of_published_vectors_is_the_score_in_the_entity_table(workspace):
    users, items = rows(workspace, "user_vectors", "user_id"), rows(workspace, "item_vectors", "item_id")
    scored = 0
    for pair in read(workspace, CUT, ["user_id", "item_id", "als_score"]).to_pylist():
        user, item = users[pair["user_id"]], items[pair["item_id"]]
        mine, its = user["user_als_vector"], item["item_als_vector"]
        if pair["als_score"] is None:
            assert mine is None or its is None
            continue
        scored += 1
        assert np.dot(mine, its) == pytest.approx(pair["als_score"], rel=1e-4, abs=1e-6)
        assert user["user_als_norm"] == pytest.approx(np.linalg.norm(mine), rel=1e-5)
        assert item["item_als_norm"] == pytest.approx(np.linalg.norm(its), rel=1e-5)
    assert scored > 20
    assert users["cold"]["user_als_vector"] is users["cold"]["user_als_norm"] is None


SIMILAR = {
    "cosine": ("candidate_gen.item_knn.CosineItemKNN", {"neighbours": 5}),
    "bm25": ("candidate_gen.item_knn.BM25ItemKNN", {}),
    "next_item": ("candidate_gen.covisitation.Covisitation", {"directional": True, "window": 3}),
    "ease": ("candidate_gen.ease.EASE", {"regularization": 5.0}),
}


@pytest.mark.parametrize("name", SIMILAR)
def test_neighbours_are_the_other_items_that_speak_most_for_an_item(make_workspace, events, tmp_path, name):
    path, params = SIMILAR[name]
    sources = {name: {"class": path, "params": params, "publish": ["neighbours"]}}
    workspace = make_workspace(tmp_path / "d", events, sources=sources)
    write_candidates(workspace, [CUT], "all")
    with workspace.connect() as connection:
        log = read_interactions(connection, CUT)
    source = configured_sources(workspace.config.candidates)[name].fit(log)
    weights = source.weights_ if name == "ease" else source.similarity_.toarray()
    known = source.items_ if name == "ease" else np.arange(log.shape[1])
    ids = log.item_ids.to_pylist()
    published = rows(workspace, "item_neighbours", "item_id")
    assert list(published) == ids
    for place, number in enumerate(known):
        others = [other for other in range(len(known)) if other != place and weights[other, place] > 0]
        others = sorted(others, key=lambda other: (-weights[other, place], other))[:NEIGHBOURS]
        row = published[ids[number]]
        assert row[f"{name}_neighbours"] == ([ids[known[other]] for other in others] or None)
        assert row[f"{name}_neighbour_weights"] == ([weights[other, place] for other in others] or None)


def test_factors_of_attributes_are_published_too(make_workspace, events, tmp_path):
    sources = {"lightly": {"class": "candidate_gen.factorization.AttributeFactorization", "publish": ["vectors"]}}
    workspace = make_workspace(tmp_path / "d", events, known=["cold"], sources=sources)
    write_candidates(workspace, [CUT], "all")
    users, items = rows(workspace, "user_vectors", "user_id"), rows(workspace, "item_vectors", "item_id")
    pairs = [pair for pair in read(workspace, CUT).to_pylist() if pair["lightly_score"] is not None]
    assert len(pairs) > 100
    for pair in pairs:
        product = np.dot(users[pair["user_id"]]["user_lightly_vector"], items[pair["item_id"]]["item_lightly_vector"])
        assert product == pytest.approx(pair["lightly_score"], rel=1e-4, abs=1e-6)
    assert users["cold"]["user_lightly_vector"] is None


OWN = """
import numpy as np
from candidate_gen.source import CandidateSource, Vectors
class Biased(CandidateSource):
    def _fit(self, interactions):
        self.shape_ = interactions.shape
    def score_batch(self, users):
        return np.zeros((len(users), self.shape_[1]), np.float32)
    def vectors(self):
        users, items = self.shape_
        biases = np.arange(users, dtype=np.float32), -np.arange(items, dtype=np.float32)
        return Vectors(np.ones((users, 2), np.float32), np.ones((items, 2), np.float32), *biases)
class Plain(Biased):
    def vectors(self):
        return Vectors(*super().vectors()[:2])
"""


def test_biases_are_published_where_a_source_has_them(make_workspace, events, tmp_path, monkeypatch):
    (tmp_path / "biased_source.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    sources = {"own": {"class": "biased_source.Biased", "publish": ["vectors", "biases"]}}
    workspace = make_workspace(tmp_path / "d", events, known=["cold"], sources=sources)
    write_candidates(workspace, [CUT], "all")
    biases = [row["item_own_bias"] for row in rows(workspace, "item_vectors", "item_id").values()]
    assert biases == [-float(number) for number in range(len(biases))]
    assert rows(workspace, "user_vectors", "user_id")["cold"]["user_own_bias"] == 1.0
    sources["own"]["class"] = "biased_source.Plain"
    with pytest.raises(ConfigError, match="biases"):
        write_candidates(make_workspace(tmp_path / "e", events, sources=sources), [CUT], "all")


def test_a_source_without_vectors_cannot_publish_any(make_workspace, events, tmp_path):
    sources = {"popular": {"class": "candidate_gen.popularity.Popularity", "publish": ["vectors"]}}
    with pytest.raises(ConfigError, match="vectors"):
        write_candidates(make_workspace(tmp_path / "d", events, sources=sources), [CUT], "all")


def test_nothing_is_written_where_nothing_is_published(make_workspace, events, tmp_path):
    sources = {"popular": {"class": "candidate_gen.popularity.Popularity"}}
    workspace = make_workspace(tmp_path / "d", events, sources=sources)
    write_candidates(workspace, [CUT], "all")
    assert sorted(path.name for path in workspace.feature_path("candidates").parent.iterdir()) == [
        "candidates",
        "user_candidates",
    ]


def test_a_source_that_was_too_large_publishes_nulls(make_workspace, events, tmp_path):
    ease = {"class": "candidate_gen.ease.EASE", "params": {"max_items": 3}, "publish": ["neighbours"]}
    popular = {"class": "candidate_gen.popularity.Popularity"}
    workspace = make_workspace(tmp_path / "d", events, sources={"ease": ease, "popular": popular})
    write_candidates(workspace, [CUT], "all")
    assert {row["ease_neighbours"] for row in rows(workspace, "item_neighbours", "item_id").values()} == {None}


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
    vectors = read_partition(workspace, "item_vectors", CUT, None, command="").schema
    assert vectors.field("item_als_vector").type == pa.list_(pa.float32())


def test_the_future_changes_no_byte(workspace, make_workspace, events, tmp_path):
    later = [("aa", "aa", 30.0, "buy"), ("busy", "x00", 31.0, "buy")]
    other = make_workspace(tmp_path / "d", [event for event in events if event[2] < 30] + later, known=["cold"])
    write_candidates(other, [CUT], "all")
    for view in learned_fields(workspace.config, "string"):
        assert partition_path(other, view, CUT).read_bytes() == partition_path(workspace, view, CUT).read_bytes()
