"""The fixed part of the synthetic world: who its users are, what its items are, how popularity moves.

Structure of several kinds, as real shops have it: long-term taste that drifts, tied to demographics; categories that
cluster in taste space; power-law popularity with trends per item and per category; new items and new users over time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TASTES = 12
CATEGORIES = ("audio", "books", "camping", "cameras", "cycling", "fitness", "food", "furniture", "games", "garden",
              "kitchen", "lighting", "music", "shoes", "tools", "travel")  # fmt: skip
COUNTRIES = ("US", "DE", "GB", "FR", "BR", "JP", "IN", "NL")
GENDERS = ("F", "M")
BRANDS = 40
_ADJECTIVES = ("Amber", "Bold", "Calm", "Classic", "Compact", "Crisp", "Dusk", "Early", "Fine", "Gentle", "Grand",
               "Hidden", "Light", "Lunar", "Plain", "Prime", "Quiet", "Rapid", "Solid", "Urban")  # fmt: skip
_NOUNS = ("Anchor", "Arrow", "Basin", "Beacon", "Cedar", "Cove", "Drift", "Ember", "Field", "Harbor", "Heron", "Isle",
          "Lark", "Maple", "Meadow", "Orbit", "Pine", "Ridge", "River", "Stone")  # fmt: skip


@dataclass(frozen=True)
class World:
    """Size and seed of a world. Its first `until_day` days (None: all) are the same whatever `until_day` is."""

    users: int = 1500
    items: int = 800
    days: int = 120
    seed: int = 7
    until_day: int | None = None

    @property
    def last_day(self) -> int:
        return self.days if self.until_day is None else min(self.until_day, self.days)


@dataclass(frozen=True)
class Items:
    """Arrays over items. `vectors`: float32 (items, TASTES). `arrival`: day as float, negative before the log.

    `by_category`: item numbers grouped by first category, `bounds`: where each group starts and ends.
    """

    vectors: np.ndarray
    category: np.ndarray
    second_category: np.ndarray
    popularity: np.ndarray
    quality: np.ndarray
    price: np.ndarray
    brand: np.ndarray
    arrival: np.ndarray
    trend_day: np.ndarray
    trend_width: np.ndarray
    trend_height: np.ndarray
    by_category: np.ndarray
    bounds: np.ndarray


@dataclass(frozen=True)
class Users:
    """Arrays over users. `early`, `late`: float32 (users, TASTES), the taste on the first and the last day."""

    early: np.ndarray
    late: np.ndarray
    sessions: np.ndarray
    hour: np.ndarray
    arrival: np.ndarray
    budget: np.ndarray
    gender: np.ndarray
    age: np.ndarray
    country: np.ndarray


@dataclass(frozen=True)
class Population:
    """Everything that does not change from day to day. `centroids`: (categories, TASTES)."""

    items: Items
    users: Users
    centroids: np.ndarray
    weekday: np.ndarray
    category_trend: np.ndarray


def build_population(world: World) -> Population:
    """Draw a world from its seed."""
    rng = np.random.default_rng(np.random.SeedSequence((world.seed, 0)))
    centroids = _unit(rng.normal(size=(len(CATEGORIES), TASTES)))
    walk = np.cumsum(rng.normal(0, 0.05, size=(world.days + 1, len(CATEGORIES))), axis=0)
    return Population(
        items=_build_items(rng, world, centroids),
        users=_build_users(rng, world),
        centroids=centroids,
        weekday=np.array([0.9, 0.85, 0.9, 0.95, 1.1, 1.3, 1.2]) * rng.uniform(0.9, 1.1, 7),
        category_trend=np.exp(walk - walk.mean(axis=1, keepdims=True)),
    )


def _build_items(rng: np.random.Generator, world: World, centroids: np.ndarray) -> Items:
    size = world.items
    shares = rng.dirichlet(np.full(len(CATEGORIES), 3.0))
    category = rng.choice(len(CATEGORIES), size, p=shares).astype(np.int16)
    vectors = _unit(centroids[category] + rng.normal(0, 0.2, (size, TASTES)))
    nearness = vectors @ centroids.T
    nearness[np.arange(size), category] = -np.inf
    second = np.where(nearness.max(axis=1) > 0.35, nearness.argmax(axis=1), -1).astype(np.int16)
    brand = (category * 5 + rng.geometric(0.4, size)) % BRANDS
    level = rng.normal(3.2, 0.6, len(CATEGORIES))
    is_old = rng.random(size) < 0.65
    order = np.argsort(category, kind="stable")
    return Items(
        vectors=vectors.astype(np.float32),
        category=category,
        second_category=second,
        popularity=rng.pareto(1.3, size) + 0.05,
        quality=rng.normal(0, 0.5, size),
        price=np.round(np.exp(level[category] + rng.normal(0, 0.5, size)), 2),
        brand=brand.astype(np.int16),
        arrival=np.where(is_old, -rng.exponential(200, size) - 1, rng.uniform(0, world.days, size)),
        trend_day=rng.uniform(-10, world.days + 10, size),
        trend_width=rng.uniform(3, 15, size),
        trend_height=rng.exponential(0.8, size),
        by_category=order,
        bounds=np.searchsorted(category[order], np.arange(len(CATEGORIES) + 1)),
    )


def _build_users(rng: np.random.Generator, world: World) -> Users:
    size = world.users
    gender = rng.integers(0, len(GENDERS), size).astype(np.int8)
    country = rng.choice(len(COUNTRIES), size, p=rng.dirichlet(np.full(len(COUNTRIES), 2.0))).astype(np.int8)
    age = np.clip(rng.gamma(6, 6, size), 16, 85).astype(np.int16)
    lean = 0.45 * rng.normal(size=(len(GENDERS), TASTES))[gender]
    lean += 0.35 * rng.normal(size=(len(COUNTRIES), TASTES))[country]
    young, old = rng.normal(size=(2, TASTES))
    share = ((age - 16) / 69)[:, None]
    lean += 0.5 * (young * (1 - share) + old * share)
    own = rng.normal(size=(size, TASTES))
    drift = rng.normal(size=(size, TASTES))
    early = _unit(lean + own)
    late = _unit(lean + 0.8 * own + 0.6 * drift)
    is_old = rng.random(size) < 0.6
    return Users(
        early=early.astype(np.float32),
        late=late.astype(np.float32),
        sessions=np.minimum(rng.lognormal(-2.5, 0.9, size), 3.0),
        hour=rng.normal(0, 2.5, size),
        arrival=np.where(is_old, -1.0 - rng.exponential(100, size), rng.uniform(0, world.days, size)),
        budget=rng.normal(3.4, 0.5, size),
        gender=gender,
        age=age,
        country=country,
    )


def titles(seed: int, size: int) -> list[str]:
    """Return a title per item number."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, 2)))
    adjectives = rng.integers(0, len(_ADJECTIVES), size)
    nouns = rng.integers(0, len(_NOUNS), size)
    pairs = zip(adjectives.tolist(), nouns.tolist(), strict=True)
    return [f"{_ADJECTIVES[a]} {_NOUNS[n]} {number}" for number, (a, n) in enumerate(pairs, start=1)]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
