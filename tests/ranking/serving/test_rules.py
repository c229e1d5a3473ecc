"""Every rule on a handful of items, and what is said about a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest

from feature_repo.config import RuleConfig
from feature_repo.errors import ConfigError, DataError
from ranking.serving.rules import (
    RULES,
    Allow,
    AttributeEquals,
    AttributeIn,
    Available,
    CategoryCap,
    Deny,
    Fresh,
    Minimum,
    RecentlyShown,
    Seen,
    check_rules,
    make_rules,
)


def day(month: int) -> datetime:
    return datetime(2024, month, 1, tzinfo=UTC)


def test_seen_removes_what_was_consumed_and_keeps_what_is_unknown(pool: Callable) -> None:
    assert Seen().keep(pool(pair_consumed_all=[0, 1, None, 3])).tolist() == [True, False, True, False]


def test_recently_shown_counts_impressions(pool: Callable) -> None:
    assert RecentlyShown(times=2).keep(pool(pair_passive_7d=[0, 1, 2, None])).tolist() == [True, True, False, True]


def test_available_is_half_open_and_null_is_no_bound(pool: Callable) -> None:
    made = pool(start=[day(5), day(6), day(7), None], end=[day(6), None, None, day(7)])
    assert Available(start="start", end="end").keep(made).tolist() == [False, True, False, True]
    assert Available(end="end").keep(made).tolist() == [False, True, True, True]


def test_available_reads_numbers_as_seconds(pool: Callable) -> None:
    made = pool(start=[day(5).timestamp(), day(7).timestamp()])
    assert Available(start="start").keep(made).tolist() == [True, False]


def test_fresh_removes_what_is_too_old(pool: Callable) -> None:
    made = pool(item_released_at=[day(5), datetime(2024, 4, 30, tzinfo=UTC), None])
    assert Fresh(days=31).keep(made).tolist() == [True, False, True]


def test_allow_and_deny(pool: Callable) -> None:
    made = pool(any=[0, 0, 0])
    assert Allow(items=(1, 3)).keep(made).tolist() == [True, False, True]
    assert Deny(items=(1, 3)).keep(made).tolist() == [False, True, False]
    with pytest.raises(DataError, match="int64"):
        Deny(items=("a",)).keep(made)


def test_attributes_equal_or_in_also_of_lists_and_from_the_context(pool: Callable) -> None:
    made = pool({"country": "fr"}, country=["de", "fr", None], tags=[["a", "b"], [], None])
    assert AttributeIn("country", ("de", "fr")).keep(made).tolist() == [True, True, False]
    assert AttributeIn("tags", ("b", "c")).keep(made).tolist() == [True, False, False]
    assert AttributeEquals("country", "de").keep(made).tolist() == [True, False, False]
    assert AttributeEquals("country", from_context="country").keep(made).tolist() == [False, True, False]


def test_minimum_takes_null_for_too_little(pool: Callable) -> None:
    assert Minimum("stock", 1.0).keep(pool(stock=[0, 1, None])).tolist() == [False, True, False]


def test_category_cap_counts_every_category_of_an_item(pool: Callable) -> None:
    made = pool(
        item_categories=[["a"], ["a", "b"], ["b"], ["c"], None],
        user_categories=[["a"]] * 5,
    )
    assert CategoryCap(most=1).trim(made, np.arange(5), 5).tolist() == [0, 2, 3, 4]
    assert CategoryCap(most=1).trim(made, np.array([1, 0, 2, 3]), 2).tolist() == [1, 3]


def test_every_rule_has_a_name() -> None:
    assert set(RULES.values()) == {
        Seen, RecentlyShown, Available, Fresh, Allow, Deny, AttributeIn, AttributeEquals, Minimum, CategoryCap,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("sen", {}, 'Did you mean "seen"'),
        ("minimum", {"column": "stock"}, "the parameters least"),
        ("minimum", {"column": "stock", "leest": 1.0}, 'Did you mean "least"'),
        ("minimum", {"column": "stock", "least": "much"}, "float"),
        ("category_cap", {"most": True}, "int"),
    ],
)
def test_a_wrong_rule_is_told(name: str, params: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_rules([RuleConfig(rule=name, params=params)], "here")


def test_a_rule_needs_its_column_and_its_context() -> None:
    rules = make_rules(
        [RuleConfig(rule="attribute_equals", params={"column": "country", "from_context": "land"})], "here"
    )
    with pytest.raises(ConfigError, match='Did you mean "country"'):
        check_rules([("minimum", Minimum("contry", 1.0))], ["country"], {})
    with pytest.raises(DataError, match="'land'"):
        check_rules(rules, ["country"], {})
    check_rules(rules, ["country"], {"land": "fr"})
