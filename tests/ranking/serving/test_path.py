"""A request on the tiny world: what is scored is what the store says, rules and orders act, errors are told."""

from __future__ import annotations

import sys
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.config import OrderConfig, RuleConfig
from feature_repo.errors import ConfigError, DataError, MissingError
from feature_repo.store import online_features
from feature_repo.workspace import Workspace
from ranking.serving.path import RequestPath
from ranking.serving.request import Ask

BY_CONTEXT = RuleConfig(rule="attribute_equals", params={"column": "item_brand", "from_context": "b"})


def test_scores_are_those_of_the_model_on_the_whole_service(
    served: Workspace, path: RequestPath, now: datetime
) -> None:
    for user in (1, 7, 42):
        answer, scored = path.answer(Ask(user, 10), now)
        pairs = pa.table({"user_id": pa.array([user] * len(scored.items)), "item_id": scored.items})
        expected = path.model.score(online_features(served, pairs, path.model.manifest.service))
        known = ~np.isnan(scored.scores)
        np.testing.assert_array_equal(scored.scores[known], expected[known])
        assert [one.score for one in answer.items] == sorted(expected[known], reverse=True)[:10]


def test_an_answer_says_who_proposed_and_what_each_stage_did(path: RequestPath, now: datetime) -> None:
    answer, _ = path.answer(Ask(1, 10), now)
    assert answer.known
    assert len(answer.items) == answer.counts["returned"] == 10
    for one in answer.items:
        assert set(one.sources) & {"recent_popularity", "als", "bm25_knn"} or "neighbours" in one.sources
    assert answer.counts["stored"] > 10
    assert set(answer.ms) == {"retrieve", "read", "filter", "score", "order", "total"}
    assert answer.model == path.model.manifest.name


def test_the_same_request_gives_the_same_answer(path: RequestPath, now: datetime) -> None:
    ask = Ask(3, 10, order=OrderConfig(kind="mmr", explore=2), seed=5)
    assert path.answer(ask, now)[0].items == path.answer(ask, now)[0].items


def test_an_unknown_user_gets_what_is_popular_under_the_same_rules(path: RequestPath, now: datetime) -> None:
    answer, _ = path.answer(Ask(987_654, 5), now)
    assert not answer.known
    assert all("popular" in one.sources for one in answer.items)
    scores = [one.score for one in answer.items]
    assert scores == sorted(scores, reverse=True)
    first = answer.items[0].item
    without, _ = path.answer(Ask(987_654, 5, rules=(RuleConfig(rule="deny", params={"items": [first]}),)), now)
    assert first not in [one.item for one in without.items]


def test_rules_of_a_request_add_to_the_configured(path: RequestPath, now: datetime) -> None:
    items = [one.item for one in path.answer(Ask(1, 3), now)[0].items]
    answer, _ = path.answer(Ask(1, 3, rules=(RuleConfig(rule="deny", params={"items": items}),)), now)
    assert answer.counts["removed by deny"] == 3
    assert not set(items) & {one.item for one in answer.items}


def test_the_caller_may_bring_the_items(path: RequestPath, now: datetime) -> None:
    items = tuple(path.catalogue.items.slice(0, 20).to_pylist())
    answer, scored = path.answer(Ask(1, 20, items=items), now)
    assert {one.item for one in answer.items} <= set(items)
    assert all("caller" in one.sources for one in answer.items)
    assert scored.items.to_pylist() == sorted(items)


def test_exploration_takes_places_with_items_that_were_not_retrieved(path: RequestPath, now: datetime) -> None:
    answer, scored = path.answer(Ask(1, 10, order=OrderConfig(explore=3), seed=1), now)
    tried = [one for one in answer.items if one.sources == ("exploration",)]
    assert 1 <= len(tried) <= 3
    assert answer.items[-len(tried) :] == tried
    retrieved = scored.items.filter(pa.array(~np.isin(scored.items, [one.item for one in tried])))
    assert len(retrieved) + len(tried) == len(scored.items)


def test_pinned_items_come_first(path: RequestPath, now: datetime) -> None:
    last = path.answer(Ask(1, 10), now)[0].items[-1].item
    answer, _ = path.answer(Ask(1, 10, order=OrderConfig(pin=[last])), now)
    assert answer.items[0].item == last
    assert len({one.item for one in answer.items}) == 10


def test_nothing_is_unpickled(served: Workspace, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    import dill

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    for loops in ("feature_repo.pair_loops", "ranking.trees.kernels"):
        monkeypatch.delitem(sys.modules, loops, raising=False)  # as in a process of its own
        package, _, name = loops.rpartition(".")
        monkeypatch.delattr(sys.modules[package], name, raising=False)
    for module in (pickle, dill):
        for name in ("load", "loads", "Unpickler"):
            monkeypatch.setattr(module, name, refuse)
    opened = RequestPath.open(served)
    opened.warm_up()
    assert opened.answer(Ask(1, 3, reasons=True), now)[0].items


def test_reasons_sum_to_the_score(path: RequestPath, now: datetime) -> None:
    answer, _ = path.answer(Ask(1, 3, reasons=True), now)
    for one in answer.items:
        total = one.reasons.base + sum(one.reasons.families.values())
        assert total == pytest.approx(one.score, abs=1e-6)
        moves = [abs(move) for move in one.reasons.families.values()]
        assert moves == sorted(moves, reverse=True)


def test_unfamiliar_items_on_request(path: RequestPath, now: datetime) -> None:
    familiar, _ = path.answer(Ask(1, 10, unfamiliar=0.0), now)
    new, _ = path.answer(Ask(1, 10, unfamiliar=1.0), now)
    assert {one.item for one in familiar.items} != {one.item for one in new.items}


@pytest.mark.parametrize(
    ("ask", "error", "says"),
    [
        (Ask(1, 0), DataError, "expected 1 to"),
        (Ask(1, 10_000), DataError, "expected 1 to"),
        (Ask(1, 2, items=(1, -9)), MissingError, "-9"),
        (Ask(1, 1, items=("x",)), DataError, "whole number"),
        (Ask(1, 2, rules=(RuleConfig(rule="sean"),)), ConfigError, 'Did you mean "seen"'),
        (Ask(1, 2, order=OrderConfig(kind="mrm")), ConfigError, 'Did you mean "mmr"'),
        (Ask(1, 2, rules=(BY_CONTEXT,)), DataError, "context field 'b'"),
    ],
)  # fmt: skip
def test_what_can_not_be_answered(path: RequestPath, now: datetime, ask: Ask, error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        path.answer(ask, now)
