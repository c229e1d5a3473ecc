"""The synthetic world: sound rows, structure that can be found again, the same world for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from feature_repo.errors import ConfigError
from feature_repo.loading import World
from feature_repo.loading.days import CLICK, IMPRESSION, PURCHASE, generate_days
from feature_repo.loading.world import build_population, titles

SMALL = World(users=400, items=200, days=60, seed=5)


@pytest.fixture(scope="module")
def days():
    return list(generate_days(SMALL))


def _all(days, name: str) -> np.ndarray:
    return np.concatenate([getattr(day, name) for day in days])


def test_tables_and_roles(load, rows, lake, options):
    report = load("synthetic", world=SMALL)
    assert set(report.event_types) == {"impression", "click", "purchase"}
    roles = lake.roles(options.config)
    assert (roles.targets, roles.consuming) == ({"purchase": 1.0, "click": 0.2}, ["purchase"])
    assert rows("SELECT count(*) FROM events LEFT JOIN users USING (user_id) WHERE gender IS NULL") == [(0,)]
    late = "SELECT count(*) FROM events e JOIN {0} k USING ({1}) WHERE e.event_timestamp <= k.event_timestamp"
    assert rows(late.format("items", "item_id")) == [(0,)]
    assert rows(late.format("users", "user_id")) == [(0,)]
    assert rows("SELECT count(*) FROM items WHERE len(categories) NOT IN (1, 2) OR released_at IS NULL") == [(0,)]
    assert rows("SELECT count(*) FROM events WHERE (event_type = 'purchase') <> (value IS NOT NULL)") == [(0,)]


def test_clicks_follow_impressions_and_purchases_follow_clicks(load, rows):
    load("synthetic", world=SMALL)
    for after, before in (("click", "impression"), ("purchase", "click")):
        orphans = rows(
            f"SELECT count(*) FROM events a WHERE a.event_type = '{after}' AND NOT EXISTS (SELECT 1 FROM events b "
            f"WHERE b.event_type = '{before}' AND b.user_id = a.user_id AND b.item_id = a.item_id "
            "AND b.event_timestamp < a.event_timestamp)"
        )
        assert orphans == [(0,)]


def test_a_longer_stay_in_the_same_world_appends(load, rows):
    first = load("synthetic", world=World(200, 80, 40, seed=2, until_day=30))
    again = load("synthetic", world=World(200, 80, 40, seed=2, until_day=30))
    more = load("synthetic", world=World(200, 80, 40, seed=2))
    assert again.added == {"events": 0, "users": 0, "items": 0}
    assert first.last < more.last
    total = sum(report.added["events"] for report in (first, more))
    assert rows("SELECT count(*) FROM events") == [(total,)]
    assert total == more.duplicates + more.added["events"]
    assert rows("SELECT count(*) FROM items") == [(80,)]


def test_seeds_are_different_worlds(days):
    assert len(_all(days, "user")) == len(_all(list(generate_days(SMALL)), "user"))
    other = list(generate_days(World(users=400, items=200, days=60, seed=6)))
    assert not np.array_equal(_all(days, "item")[:100], _all(other, "item")[:100])


def test_popularity_is_a_power_law(days):
    shown = np.sort(np.bincount(_all(days, "item")[_all(days, "event_type") == IMPRESSION], minlength=200))[::-1]
    assert shown[:20].sum() > 0.25 * shown.sum()
    assert (shown > 0).mean() > 0.9


def test_users_click_what_they_like(days):
    population = build_population(SMALL)
    user, item, kind = (_all(days, name) for name in ("user", "item", "event_type"))
    fit = np.einsum("ij,ij->i", population.users.early[user], population.items.vectors[item])
    assert fit[kind == CLICK].mean() > fit[kind == IMPRESSION].mean() + 0.1
    assert fit[kind == PURCHASE].mean() > fit[kind == CLICK].mean() + 0.02


def test_interest_lasts_for_days_beyond_taste(days):
    """Two clicks of a user within three days share a category more often than two clicks far apart."""
    population = build_population(SMALL)
    kind, user, time = (_all(days, name) for name in ("event_type", "user", "time"))
    category = population.items.category[_all(days, "item")]
    order = np.flatnonzero(kind == CLICK)
    order = order[np.lexsort((time[order], user[order]))]
    same_user = user[order][1:] == user[order][:-1]
    gap = (time[order][1:] - time[order][:-1]) / 86_400_000_000
    same = category[order][1:] == category[order][:-1]
    near, far = same[same_user & (gap < 1.5)], same[same_user & (gap > 7)]
    assert near.mean() > far.mean() + 0.1


def test_demographics_and_seasons_show(days):
    population = build_population(SMALL)
    users = population.users
    together = users.gender[:, None] == users.gender[None, :]
    alike = users.early @ users.early.T
    assert alike[together].mean() > alike[~together].mean() + 0.05
    hour = _all(days, "time") // 3_600_000_000 % 24
    by_hour = np.bincount(hour, minlength=24)
    assert by_hour[18:22].mean() > 2 * by_hour[1:5].mean()


def test_buying_twice_is_rare(days):
    bought = _all(days, "event_type") == PURCHASE
    pairs = _all(days, "user")[bought] * 1000 + _all(days, "item")[bought]
    assert len(np.unique(pairs)) > 0.98 * len(pairs)


def test_items_arrive_over_time(days):
    first_half = np.unique(np.concatenate([day.item for day in days[:30]]))
    all_items = np.unique(_all(days, "item"))
    assert 0.6 < len(first_half) / len(all_items) < 0.95


def test_titles_are_distinct():
    assert len(set(titles(1, 500))) == 500


@pytest.mark.parametrize("world", [World(users=0), World(items=5), World(days=0), World(days=5000), World(seed=-1)])
def test_impossible_worlds(load, lake, world):
    with pytest.raises(ConfigError, match=r"--\w+: expected \d+ to \d+, got"):
        load("synthetic", world=world)
    assert not lake.root.exists()
