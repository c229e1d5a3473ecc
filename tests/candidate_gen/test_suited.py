"""Half-lives that fit the log: found where it forgets fast or never, left alone where nothing is surely better."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from candidate_gen import suited
from candidate_gen.entity_table import fit_stage
from candidate_gen.interactions import DAY, Interactions
from candidate_gen.suited import best_factor, choose_params, holdouts, with_suited_params
from feature_repo.config import CandidatesConfig
from feature_repo.workspace import Workspace

DAY_0 = datetime(2024, 1, 1, tzinfo=UTC)
POPULAR = "candidate_gen.popularity.RecentPopularity"
USERS, ITEMS = 400, 60


def _config(days: float, **more: object) -> CandidatesConfig:
    source = {"class": POPULAR, "depth": 10, "params": {"half_life_days": days}}
    return CandidatesConfig.model_validate({"sources": {"recent": source}, "params": "suited", **more})


def _log(item: np.ndarray, days: np.ndarray, seed: int = 0) -> Interactions:
    """A log of random users who take these items at these times."""
    rng = np.random.default_rng(seed)
    order = np.argsort(days, kind="stable")
    start = int(DAY_0.timestamp() * 1e6)
    return Interactions(
        as_of=DAY_0.replace(year=2034),
        user_ids=pa.array(np.arange(USERS)),
        item_ids=pa.array(np.arange(ITEMS)),
        user=rng.integers(0, USERS, len(item)).astype(np.int32),
        item=item[order].astype(np.int32),
        time=start + (days[order] * DAY).astype(np.int64),
        weight=np.ones(len(item)),
        consuming=np.ones(len(item), bool),
        users=pa.table({}),
        items=pa.table({}),
    )


def _fashion(days: float, events: int = 4000) -> Interactions:
    """Ten of sixty items are taken at a time, and every day the next ones."""
    rng = np.random.default_rng(1)
    when = rng.random(events) * days
    return _log((when.astype(int) * 3 + rng.integers(0, 10, events)) % ITEMS, when)


def _habit(days: float, events: int = 4000) -> Interactions:
    """The same items are popular for ever."""
    rng = np.random.default_rng(2)
    popularity = 1 / np.arange(1, ITEMS + 1)
    return _log(rng.choice(ITEMS, events, p=popularity / popularity.sum()), rng.random(events) * days)


def _chosen(log: Interactions, days: float) -> float:
    return choose_params(log, _config(days), allow_repeats=True)["recent"]["half_life_days"]


def test_a_log_that_forgets_fast_gets_a_short_half_life() -> None:
    assert _chosen(_fashion(20), 60.0) < 20


def test_a_log_that_never_forgets_gets_a_long_half_life() -> None:
    assert _chosen(_habit(7000), 3.0) > 100


def test_a_half_life_that_fits_stays_as_written() -> None:
    assert _chosen(_habit(30), 3000.0) == 3000.0


def test_nobody_to_judge_leaves_it_as_written() -> None:
    log = _habit(30, events=3)
    assert _chosen(log, 3.0) == 3.0
    assert holdouts(replace(log, weight=np.zeros(3)), allow_repeats=True, seed=0) == []


def test_a_factor_must_be_better_by_more_than_chance() -> None:
    rng = np.random.default_rng(3)
    noise = {}
    assert best_factor(lambda times: noise.setdefault(times, rng.normal(size=4))) in (1.0, *noise)
    assert best_factor(lambda times: np.zeros(50)) == 1.0
    assert best_factor(lambda times: np.array([times])) == 1.0


def test_of_a_long_log_whole_users_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suited, "MOST_EVENTS", 1000)
    log = _habit(30)
    some = suited._some_users(log, seed=0)
    kept = np.unique(some.user)
    assert 900 < len(some.user) <= 1000
    assert np.isin(log.user, kept).sum() == len(some.user)


def test_holdouts_know_only_their_past_and_hold_what_was_not_consumed() -> None:
    log = _fashion(20)
    for part in holdouts(log, allow_repeats=False, seed=0):
        assert (part.log.time < part.log.as_of.timestamp() * 1e6).all()
        seen = set(zip(part.log.user.tolist(), part.log.item.tolist(), strict=True))
        pairs = [divmod(pair, ITEMS) for pair in part.pairs.tolist()]
        assert seen.isdisjoint(pairs)
        assert sorted({user for user, _ in pairs}) == part.users.tolist()
        assert {item for _, item in pairs} <= set(part.log.item.tolist())


def _workspace(folder: Path, make_workspace: Callable[..., Workspace], later: int, **candidates: object) -> Workspace:
    """Habits, and from the first training cut on whatever `later` draws."""
    rng = np.random.default_rng(5)
    popularity = 1 / np.arange(1, ITEMS + 1)
    items = rng.choice(ITEMS, 3000, p=popularity / popularity.sum())
    days, users = np.sort(rng.random(3000)) * 3000, rng.integers(0, 200, 3000)
    items[1200:] = np.random.default_rng(later).integers(0, ITEMS, 1800)  # the cut is the 0.4 quantile
    events = [(int(user), int(item), float(day), "buy") for user, item, day in zip(users, items, days, strict=True)]
    recent = {"class": POPULAR, "depth": 10, "params": {"half_life_days": 1}}
    sources = {"recent": recent, "all": {"class": "candidate_gen.popularity.Popularity"}}
    return make_workspace(folder, events, candidates={"sources": sources, **candidates}, allow_repeats=True)


def test_what_is_chosen_is_fitted_kept_and_independent_of_what_comes_later(
    tmp_path: Path, make_workspace: Callable[..., Workspace]
) -> None:
    found = []
    for later in (1, 2):
        workspace = _workspace(tmp_path / str(later), make_workspace, later, params="suited")
        with workspace.connect() as connection:
            for cut in workspace.periods.cuts:
                stage = fit_stage(workspace, connection, cut, allow_repeats=True)
                found.append(stage.sources["recent"].half_life_days)
        kept = json.loads((workspace.data_dir / suited.FILE).read_text())
        assert kept["params"] == {"recent": {"half_life_days": found[-1]}}
    assert len(set(found)) == 1
    assert found[0] > 1


def test_regularisation_is_chosen_where_the_whole_log_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    log = _log(rng.integers(0, ITEMS, 4000), rng.random(4000) * 30)
    own = log.user % 20  # a user takes three items of sixty
    log = replace(log, item=(own * 3 + rng.integers(0, 3, 4000)).astype(np.int32))
    source = {"class": "candidate_gen.als.ALS", "depth": 5, "params": {"factors": 16, "regularization": 500.0}}
    config = CandidatesConfig.model_validate({"sources": {"als": source}})
    assert choose_params(log, config, allow_repeats=True)["als"]["regularization"] < 500
    monkeypatch.setattr(suited, "MOST_EVENTS", 3000)
    assert choose_params(log, config, allow_repeats=True) == {}


def test_as_written_is_the_default(tmp_path: Path, make_workspace: Callable[..., Workspace]) -> None:
    workspace = _workspace(tmp_path, make_workspace, 1)
    with workspace.connect() as connection:
        found = with_suited_params(workspace, connection, workspace.periods.test.start)
    assert found is workspace.config.candidates
    assert not (tmp_path / suited.FILE).exists()
