"""One day after another of the synthetic world: sessions, impressions, clicks, purchases; memory grows with a day.

A session shows a handful of items from several shelves: what is popular now, the category the user is after these
days, what fits the user's taste, and a little of everything. Whether an item is clicked depends on taste, on the
category the user is after, on quality and on the slot; a purchase follows a click if taste and price agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from feature_repo.loading.world import CATEGORIES, Population, World, build_population

DAY_US = 86_400_000_000
IMPRESSION, CLICK, PURCHASE = 0, 1, 2

_SHELVES = np.array([0.35, 0.30, 0.25, 0.10])  # popular, category, taste, everything
_POPULAR, _CATEGORY, _TASTE, _EVERYTHING = range(4)
_HOURS = np.array([2, 1, 1, 1, 1, 2, 3, 5, 6, 6, 6, 6, 7, 6, 6, 6, 6, 7, 8, 10, 11, 10, 7, 4], dtype=float)
_KEEPS_INTEREST = 0.8  # chance that a user is after the same category the next day
_CHOICES = 4  # the taste shelf shows the best of so many


@dataclass(frozen=True)
class Day:
    """Events of one day's sessions: user and item numbers from 0, microseconds since the world began, type, price."""

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    event_type: np.ndarray
    recommended: np.ndarray
    value: np.ndarray


@dataclass
class _State:
    """What one day leaves to the next: the category each user is after, and who has bought what (sorted keys)."""

    interest: np.ndarray
    bought: np.ndarray


@dataclass(frozen=True)
class _Slots:
    """The day's impressions, one entry each, ordered by session and slot."""

    user: np.ndarray
    item: np.ndarray
    shelf: np.ndarray
    time: np.ndarray
    slot: np.ndarray


def generate_days(world: World, population: Population | None = None) -> Iterator[Day]:
    """Yield the world's days in order. A day depends on the seed and the days before it, not on how many follow."""
    population = population or build_population(world)
    rng = np.random.default_rng(np.random.SeedSequence((world.seed, 1)))
    after = rng.integers(0, len(CATEGORIES), world.users).astype(np.int16)
    state = _State(interest=after, bought=np.empty(0, np.int64))
    for day in range(world.last_day):
        day_rng = np.random.default_rng(np.random.SeedSequence((world.seed, 3, day)))
        yield _generate_day(day_rng, day, world, population, state)


def _generate_day(rng: np.random.Generator, day: int, world: World, population: Population, state: _State) -> Day:
    _move_interest(rng, day, world, population, state)
    slots = _show(rng, day, world, population, state)
    clicked = _clicked(rng, day, world, population, state, slots)
    click_time = slots.time[clicked] + rng.integers(1_000_000, 25_000_000, clicked.sum())
    bought = _bought(rng, day, world, population, state, slots, clicked)
    buy_time = click_time[bought] + rng.integers(20_000_000, 900_000_000, bought.sum())
    chosen = np.flatnonzero(clicked)
    rows = np.concatenate([np.arange(len(slots.user)), chosen, chosen[bought]])
    counts = (len(slots.user), len(chosen), int(bought.sum()))
    item = slots.item[rows]
    event_type = np.repeat(np.array([IMPRESSION, CLICK, PURCHASE], np.int8), counts)
    return Day(
        user=slots.user[rows],
        item=item,
        time=np.concatenate([slots.time, click_time, buy_time]),
        event_type=event_type,
        recommended=np.isin(slots.shelf[rows], (_POPULAR, _TASTE)),
        value=np.where(event_type == PURCHASE, population.items.price[item], np.nan),
    )


def _taste(population: Population, day: int, world: World, user: np.ndarray) -> np.ndarray:
    share = np.float32(day / max(world.days, 1))
    return population.users.early[user] * (1 - share) + population.users.late[user] * share


def _move_interest(rng: np.random.Generator, day: int, world: World, population: Population, state: _State) -> None:
    """Some users turn to another category, by taste and by what is in season."""
    moving = np.flatnonzero(rng.random(world.users) > _KEEPS_INTEREST)
    fit = _taste(population, day, world, moving) @ population.centroids.T.astype(np.float32)
    weights = np.exp(3.0 * fit) * population.category_trend[day].astype(np.float32)
    edges = np.cumsum(weights, axis=1)
    draw = rng.random((len(moving), 1), dtype=np.float32) * edges[:, -1:]
    state.interest[moving] = np.minimum((draw > edges).sum(axis=1), len(CATEGORIES) - 1)


def _popularity(day: int, population: Population) -> np.ndarray:
    """Today's pull of every item: base x trend x season x freshness; 0 before it has arrived."""
    items = population.items
    bump = items.trend_height * np.exp(-(((day - items.trend_day) / items.trend_width) ** 2))
    age = day - items.arrival
    fresh = 1 + 1.5 * np.exp(-np.maximum(age, 0) / 10)
    pull = items.popularity * np.exp(bump) * population.category_trend[day][items.category] * fresh
    return np.where(age > 0, pull, 0.0)


def _show(rng: np.random.Generator, day: int, world: World, population: Population, state: _State) -> _Slots:
    """Draw the day's sessions and fill their slots; an item fills one slot of a session at most."""
    users = population.users
    rate = users.sessions * population.weekday[day % 7] * (users.arrival < day)
    session_user = np.repeat(np.arange(world.users), rng.poisson(rate))
    hours = rng.choice(24, len(session_user), p=_HOURS / _HOURS.sum()) + rng.random(len(session_user))
    start = day * DAY_US + ((hours + users.hour[session_user]) % 24 / 24 * DAY_US).astype(np.int64)
    lengths = np.minimum(1 + rng.geometric(0.25, len(session_user)), 25)
    session = np.repeat(np.arange(len(session_user)), lengths)
    slot = np.arange(len(session)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    shelf = rng.choice(4, len(session), p=_SHELVES).astype(np.int8)
    user = session_user[session]
    item = _fill(rng, day, world, population, state, user, shelf)
    time = start[session] + slot * 4_000_000 + rng.integers(0, 3_000_000, len(session))
    _, first = np.unique(session * np.int64(world.items) + item, return_index=True)
    keep = np.sort(first[item[first] >= 0])
    return _Slots(user[keep], item[keep], shelf[keep], time[keep], slot[keep])


def _fill(
    rng: np.random.Generator,
    day: int,
    world: World,
    population: Population,
    state: _State,
    user: np.ndarray,
    shelf: np.ndarray,
) -> np.ndarray:
    """Return the item of every slot, -1 where the shelf is empty today."""
    pull = _popularity(day, population)
    item = np.full(len(user), -1, dtype=np.int64)
    at = [np.flatnonzero(shelf == kind) for kind in range(4)]
    item[at[_POPULAR]] = _draw(rng, pull, len(at[_POPULAR]))
    item[at[_EVERYTHING]] = _draw(rng, (pull > 0).astype(float), len(at[_EVERYTHING]))
    searched = state.interest[user[at[_CATEGORY]]]
    item[at[_CATEGORY]] = _draw_within(rng, np.sqrt(pull), population, searched)
    item[at[_TASTE]] = _best_of(rng, day, world, population, np.sqrt(pull), user[at[_TASTE]])
    return item


def _draw(rng: np.random.Generator, weights: np.ndarray, size: int) -> np.ndarray:
    edges = np.cumsum(weights)
    if edges[-1] <= 0:
        return np.full(size, -1)
    return np.searchsorted(edges, rng.random(size) * edges[-1], side="right")


def _draw_within(
    rng: np.random.Generator, weights: np.ndarray, population: Population, category: np.ndarray
) -> np.ndarray:
    """Draw one item of each given category, -1 where it has none today."""
    items = population.items
    edges = np.concatenate([[0.0], np.cumsum(weights[items.by_category])])
    low, high = edges[items.bounds[category]], edges[items.bounds[category + 1]]
    position = np.searchsorted(edges, low + rng.random(len(category)) * (high - low), side="right") - 1
    drawn = items.by_category[np.clip(position, 0, len(items.by_category) - 1)]
    return np.where(high > low, drawn, -1)


def _best_of(
    rng: np.random.Generator, day: int, world: World, population: Population, weights: np.ndarray, user: np.ndarray
) -> np.ndarray:
    """Draw a few items per user and return the one nearest to the user's taste."""
    choices = _draw(rng, weights, len(user) * _CHOICES).reshape(len(user), _CHOICES)
    taste = _taste(population, day, world, user)
    fit = np.stack([np.einsum("ij,ij->i", taste, population.items.vectors[column]) for column in choices.T], axis=1)
    best = fit.argmax(axis=1) if len(user) else np.empty(0, np.int64)
    return choices[np.arange(len(user)), best]


def _fit(population: Population, day: int, world: World, user: np.ndarray, item: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", _taste(population, day, world, user), population.items.vectors[item]).astype(float)


def _clicked(
    rng: np.random.Generator, day: int, world: World, population: Population, state: _State, slots: _Slots
) -> np.ndarray:
    items = population.items
    after = items.category[slots.item] == state.interest[slots.user]
    logit = -2.2 + 3.0 * _fit(population, day, world, slots.user, slots.item) + 0.9 * after
    logit += items.quality[slots.item] - 0.35 * np.log1p(slots.slot)
    return rng.random(len(slots.user)) < _sigmoid(logit)


def _bought(
    rng: np.random.Generator,
    day: int,
    world: World,
    population: Population,
    state: _State,
    slots: _Slots,
    clicked: np.ndarray,
) -> np.ndarray:
    """Return which clicks end in a purchase and remember them; buying the same again is rare."""
    items = population.items
    user, item = slots.user[clicked], slots.item[clicked]
    dear = np.maximum(np.log(items.price[item]) - population.users.budget[user], 0)
    logit = -1.4 + 2.0 * _fit(population, day, world, user, item) + items.quality[item] - 0.8 * dear
    bought = rng.random(len(user)) < _sigmoid(logit)
    key = user * np.int64(world.items) + item
    _, first = np.unique(key, return_index=True)
    again = np.ones(len(key), bool)
    again[first] = False
    again |= _contains(state.bought, key)
    bought &= ~again | (rng.random(len(user)) < 0.05)
    state.bought = np.union1d(state.bought, key[bought])
    return bought


def _contains(sorted_keys: np.ndarray, keys: np.ndarray) -> np.ndarray:
    if not len(sorted_keys):
        return np.zeros(len(keys), bool)
    position = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return sorted_keys[position] == keys


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))
