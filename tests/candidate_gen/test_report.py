from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from candidate_gen.configured import configured_sources
from candidate_gen.interactions import read_interactions
from candidate_gen.report import report_candidates
from feature_repo.errors import DataError
from ranking.truth import read_judged, read_truth


@pytest.fixture(scope="module")
def judged(make_workspace, random_events, tmp_path_factory):
    events = [*random_events(7, users=30, items=25, events=500), ("cold", "i9", 49.0, "buy")]
    workspace = make_workspace(tmp_path_factory.mktemp("report") / "d", events, known=["cold"])
    return workspace, report_candidates(workspace, workspace.periods.test.start)


@pytest.fixture(scope="module")
def lists(judged):
    """Each source's proposals to the judged users, by recommend: {source: {user: [items, best first]}}."""
    workspace, _ = judged
    with workspace.connect() as connection:
        log = read_interactions(connection, workspace.periods.test.start)
        truth = read_truth(connection, workspace.periods.test, allow_repeats=False)
    relevant = {user: set() for user in truth.users.to_pylist()}
    for user, item in zip(truth.user, truth.items.to_pylist(), strict=True):
        relevant[truth.users[user].as_py()].add(item)
    found = {}
    for name, source in configured_sources(workspace.config.candidates).items():
        top = source.fit(log).recommend(truth.users, 200)
        found[name] = {user: [] for user in relevant}
        for row in top.to_pylist():
            found[name][row["user_id"]].append(row["item_id"])
    return relevant, found


def test_recall_and_ndcg_follow_the_truth_protocol(judged, lists):
    _, report = judged
    relevant, found = lists
    assert report.users == len(relevant)
    for name, source in report.sources.items():
        for depth, value in {**source.recall, "20": source.recall["20"]}.items():
            n = source.depth if depth == "all" else int(depth)
            shares = [len(relevant[user] & set(items[:n])) / len(relevant[user]) for user, items in found[name].items()]
            assert value == pytest.approx(np.mean(shares))
        gains = []
        for user, items in found[name].items():
            gain = sum(1 / np.log2(rank + 1) for rank, item in enumerate(items[:10], 1) if item in relevant[user])
            gains.append(gain / sum(1 / np.log2(rank + 1) for rank in range(1, min(10, len(relevant[user])) + 1)))
        assert source.ndcg_10 == pytest.approx(np.mean(gains))


def test_the_union_its_overlap_and_what_only_one_source_found(judged, lists):
    _, report = judged
    relevant, found = lists
    sets = {
        name: {(user, item) for user, items in found[name].items() for item in items[: report.sources[name].depth]}
        for name in found
    }
    union = set().union(*sets.values())
    assert report.union.candidates == pytest.approx(len(union) / len(relevant))
    hits = {pair for pair in union if pair[1] in relevant[pair[0]]}
    shares = [sum(pair[0] == user for pair in hits) / len(relevant[user]) for user in relevant]
    assert report.union.recall == pytest.approx(np.mean(shares))
    for name, source in report.sources.items():
        others = set().union(*(sets[other] for other in sets if other != name))
        assert source.only == pytest.approx(len((sets[name] & hits) - others) / len(hits))
        for other, share in source.overlap.items():
            assert share == pytest.approx(len(sets[name] & sets[other]) / len(sets[name]))
        assert source.coverage == pytest.approx(len({item for _, item in sets[name]}) / report.items)


def test_users_are_told_apart_by_history_and_cold_ones_are_served(judged):
    _, report = judged
    groups = report.history
    assert groups["0"].users == 1
    assert groups["0"].fewest == groups["0"].candidates == 3  # what popularity proposes
    assert sum(group.users for name, group in groups.items() if name != "0") == report.users


def test_proposals_of_items_without_an_event_count_as_new(make_workspace, random_events, tmp_path):
    events = random_events(7, users=30, items=25, events=500)
    colours = {f"i{number}": "red" if number % 2 else "blue" for number in range(5, 40)}  # i30 and above are new
    items = {"item_id": list(colours), "colour": list(colours.values())}
    content = {"class": "candidate_gen.content.Content", "depth": 12, "params": {"min_items": 1}}
    sources = {"content": content, "popular": {"class": "candidate_gen.popularity.Popularity", "depth": 5}}
    workspace = make_workspace(tmp_path / "d", events, items=items, sources=sources)
    cut = workspace.periods.test.start
    report = report_candidates(workspace, cut)
    with workspace.connect() as connection:
        log = read_interactions(connection, cut)
        users = read_judged(connection, workspace.periods.test, allow_repeats=False).users
    top = configured_sources(workspace.config.candidates)["content"].fit(log).recommend(users, 12)
    old = set(log.item_ids.take(pa.array(log.item)).to_pylist())
    share = np.mean([item not in old for item in top["item_id"].to_pylist()])
    assert 0 < share < 1
    assert report.sources["content"].new == pytest.approx(share)
    assert report.sources["popular"].new == 0


def test_the_report_is_json(judged):
    _, report = judged
    values = json.loads(json.dumps(report.as_dict()))
    assert set(values["sources"]["knn"]["recall"]) == {"20", "50", "100", "200", "all"}
    assert values["sources"]["knn"]["megabytes"] > 0
    assert values["union_at"]["100"]["recall"] >= values["union"]["recall"]


def test_a_cut_without_labels_after_it_is_an_error(judged):
    workspace, _ = judged
    with pytest.raises(DataError, match="a user with a relevant item"):
        report_candidates(workspace, workspace.now - timedelta(microseconds=0))
