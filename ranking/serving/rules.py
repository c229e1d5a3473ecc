"""Rules that say what may not be shown. Each is a small class: the columns that it reads, and what it keeps.

    serving:
      rules:
        - rule: seen
        - {rule: attribute_in, params: {column: item_age_rating, values: [all, teen]}}

A request may add rules of its own. A rule removes before scoring (`keep`) or from the finished list (`trim`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.config import RuleConfig
from feature_repo.errors import ConfigError, DataError
from feature_repo.on_demand.lists import RowLists
from ranking.serving.parts import make
from ranking.serving.pool import CATEGORIES, USER_CATEGORIES, Pool

if TYPE_CHECKING:
    from collections.abc import Iterable

_DAY: Final = 86_400_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Rule:
    """Something that removes candidates."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The feature columns that it reads."""
        return ()

    @property
    def context(self) -> tuple[str, ...]:
        """The context fields that a request must bring."""
        return ()

    def keep(self, pool: Pool) -> np.ndarray | None:
        """Return which candidates stay, bool per item; None: all."""
        return None

    def trim(self, pool: Pool, rows: np.ndarray, k: int) -> np.ndarray:
        """Return the rows of a list, best first, without those that may not be in it."""
        return rows


@dataclass(frozen=True)
class Seen(Rule):
    """Nothing that the user has consumed."""

    column: str = "pair_consumed_all"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def keep(self, pool: Pool) -> np.ndarray:
        return ~(pool.numbers(self.column) > 0)


@dataclass(frozen=True)
class RecentlyShown(Rule):
    """Nothing that was shown `times` times of late without being taken, as impressions in the log say."""

    times: int
    column: str = "pair_passive_7d"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def keep(self, pool: Pool) -> np.ndarray:
        return ~(pool.numbers(self.column) >= self.times)


@dataclass(frozen=True)
class Available(Rule):
    """Only from one time until another: columns of times, or of seconds since 1970; null: no such bound."""

    start: str | None = None
    end: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name in (self.start, self.end) if name is not None)

    def keep(self, pool: Pool) -> np.ndarray:
        keep, now = np.ones(len(pool), bool), _microseconds(pool.now)
        if self.start is not None:
            keep &= ~(_times(pool, self.start) > now)
        if self.end is not None:
            keep &= ~(_times(pool, self.end) <= now)
        return keep


@dataclass(frozen=True)
class Fresh(Rule):
    """Nothing whose time in `column` is more than `days` ago; items without one stay."""

    days: float
    column: str = "item_released_at"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def keep(self, pool: Pool) -> np.ndarray:
        return ~(_microseconds(pool.now) - _times(pool, self.column) > self.days * _DAY)


@dataclass(frozen=True)
class Allow(Rule):
    """Only these items."""

    items: tuple

    def keep(self, pool: Pool) -> np.ndarray:
        return _listed(pool.items, self.items)


@dataclass(frozen=True)
class Deny(Rule):
    """None of these items."""

    items: tuple

    def keep(self, pool: Pool) -> np.ndarray:
        return ~_listed(pool.items, self.items)


@dataclass(frozen=True)
class AttributeIn(Rule):
    """Only items whose attribute is one of the values; of a list attribute, one of its elements. Null is not."""

    column: str
    values: tuple

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def keep(self, pool: Pool) -> np.ndarray:
        return _has(pool.column(self.column), self.values, self.column)


@dataclass(frozen=True)
class AttributeEquals(Rule):
    """Only items whose attribute is the value, or what the request's context says under `from_context`."""

    column: str
    value: str | int | float | bool | None = None
    from_context: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def context(self) -> tuple[str, ...]:
        return () if self.from_context is None else (self.from_context,)

    def keep(self, pool: Pool) -> np.ndarray:
        wanted = self.value if self.from_context is None else pool.context[self.from_context]
        return _has(pool.column(self.column), (wanted,), self.column)


@dataclass(frozen=True)
class Minimum(Rule):
    """Only items with at least so much of something: stock, quality. Null is less."""

    column: str
    least: float

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def keep(self, pool: Pool) -> np.ndarray:
        return pool.numbers(self.column) >= self.least


@dataclass(frozen=True)
class CategoryCap(Rule):
    """At most so many items of one category in a list."""

    most: int

    @property
    def columns(self) -> tuple[str, ...]:
        return (CATEGORIES, USER_CATEGORIES)

    def trim(self, pool: Pool, rows: np.ndarray, k: int) -> np.ndarray:
        member = pool.membership
        taken = np.zeros(member.shape[1], np.int64)
        kept: list[int] = []
        for row in rows.tolist():
            if len(kept) == k:
                break
            if (taken[member[row]] < self.most).all():
                taken += member[row]
                kept.append(row)
        return np.array(kept, np.int64)


RULES: Final[Mapping[str, type[Rule]]] = {
    "seen": Seen,
    "recently_shown": RecentlyShown,
    "available": Available,
    "fresh": Fresh,
    "allow": Allow,
    "deny": Deny,
    "attribute_in": AttributeIn,
    "attribute_equals": AttributeEquals,
    "minimum": Minimum,
    "category_cap": CategoryCap,
}


def make_rules(configured: Iterable[RuleConfig], where: str) -> list[tuple[str, Rule]]:
    """Make rules by name; raises ConfigError for one that is unknown or has wrong parameters."""
    return [(one.name, make(RULES, one.name, one.params, what="rule", where=where)) for one in configured]


def check_rules(rules: Sequence[tuple[str, Rule]], columns: Sequence[str], context: Mapping[str, Any]) -> None:
    """Raise ConfigError for a rule that reads a column that no view has, DataError for a missing context field."""
    from feature_repo.errors import did_you_mean

    for name, rule in rules:
        for column in rule.columns:
            if column not in columns:
                raise ConfigError(
                    f"rule {name}",
                    expected="columns of the feature views",
                    got=repr(column),
                    fix=f"Correct the name.{did_you_mean(column, columns)}",
                )
        for word in rule.context:
            if word not in context:
                raise DataError(
                    f"rule {name}",
                    expected=f"the context field {word!r}",
                    got=", ".join(context) or "no context",
                    fix="Send it under `context`.",
                )


def _has(column: pa.Array, values: Sequence[Any], name: str) -> np.ndarray:
    lists = RowLists.of(column) if pa.types.is_list(column.type) else None
    flat = column if lists is None else lists.values
    hit = _listed(flat, values, name)
    if lists is None:
        return hit
    return np.bincount(lists.rows[hit], minlength=len(column)) > 0


def _listed(column: pa.Array, values: Sequence[Any], name: str = "items") -> np.ndarray:
    try:
        wanted = pa.array(list(values), column.type)
    except (pa.ArrowInvalid, TypeError, OverflowError, UnicodeError):
        raise DataError(
            f"the values for {name}", expected=str(column.type), got=repr(list(values))[:120], fix="Correct them."
        ) from None
    return pc.is_in(column, value_set=wanted.drop_null()).to_numpy(zero_copy_only=False)


def _times(pool: Pool, name: str) -> np.ndarray:
    """Return times in microseconds; numbers that are no times count seconds."""
    values = pool.numbers(name)
    return values if pa.types.is_timestamp(pool.column(name).type) else values * 1e6


def _microseconds(moment: datetime) -> float:
    return (moment - _EPOCH).total_seconds() * 1e6
