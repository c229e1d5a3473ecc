from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from candidate_gen.configured import configured_sources
from candidate_gen.interactions import read_interactions
from candidate_gen.stability import WEEK, report_stability
from feature_repo.errors import DataError

CUT = datetime(2024, 1, 31, tzinfo=UTC)


@pytest.fixture(scope="module")
def workspace(make_workspace, random_events, tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("stability") / "d", random_events(users=30, items=40, events=700))


@pytest.fixture(scope="module")
def report(workspace):
    return report_stability(workspace, CUT)


def test_survival_is_the_mean_share_of_a_users_first_items(workspace, report):
    found = {}
    for moment, seed in ((CUT - WEEK, 3), (CUT, 3), (CUT, 4)):
        with workspace.connect() as connection:
            log = read_interactions(connection, moment)
        for name, source in configured_sources(workspace.config.candidates).items():
            if name == "als":
                source.set_params(seed=seed)
            if (moment, seed) == (CUT - WEEK, 3):
                users = log.user_ids
            top = source.fit(log).recommend(users, 10, exclude_seen=False).to_pylist()
            for row in top:
                found.setdefault((name, moment, seed, row["user_id"]), set()).add(row["item_id"])

    def share(name: str, first: tuple, second: tuple) -> float:
        lists = {key[3]: items for key, items in found.items() if key[:3] == (name, *first)}
        others = {user: found.get((name, *second, user), set()) for user in lists}
        return float(np.mean([len(lists[user] & others[user]) / len(lists[user]) for user in lists]))

    assert report.users == len(users)
    for name, survival in report.sources.items():
        assert survival.seed["10"] == pytest.approx(share(name, (CUT, 3), (CUT, 4)))
        assert survival.week["10"] == pytest.approx(share(name, (CUT - WEEK, 3), (CUT, 3)))
        assert survival.both["10"] == pytest.approx(share(name, (CUT - WEEK, 3), (CUT, 4)))


def test_only_a_seed_changes_what_has_one(report):
    assert report.sources["popular"].seed == report.sources["knn"].seed == {"10": 1.0, "100": 1.0}
    assert report.sources["als"].seed["10"] < 1.0
    assert report.sources["knn"].week["10"] < 1.0


def test_the_report_is_json_and_repeats(workspace, report):
    values = json.loads(json.dumps(report.as_dict()))
    assert values["before"] == (CUT - timedelta(days=7)).isoformat()
    assert set(values["sources"]["als"]) == {"seed", "week", "both"}
    assert report_stability(workspace, CUT) == report


def test_there_must_be_events_a_week_before(workspace):
    with pytest.raises(DataError, match="a week before"):
        report_stability(workspace, datetime(2024, 1, 3, tzinfo=UTC))
