"""What rules cost and orders change: lists of the real classes at the test cut, judged like every other ranking."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from feature_repo.config import OrderConfig, RuleConfig
from feature_repo.workspace import Workspace
from ranking.evaluate import evaluate
from ranking.evaluation import TWO_STAGE
from ranking.serving.rules import RULES
from ranking.serving_report import ServingReport, measure_serving, report_path


def with_serving(workspace: Workspace, **settings: object) -> Workspace:
    serving = workspace.config.serving.model_copy(update=settings)
    return Workspace(workspace.data_dir, workspace.config.model_copy(update={"serving": serving}))


@pytest.fixture(scope="module")
def report(trained: Workspace) -> ServingReport:
    rules = [RuleConfig(rule="minimum", params={"column": "item_targets_all", "least": 1e9})]
    rules += [RuleConfig(rule="attribute_equals", params={"column": "item_brand", "from_context": "brand"})]
    rules += [RuleConfig(rule="fresh", params={"days": 3, "column": "nowhere"})]
    changed = with_serving(trained, rules=rules, order=OrderConfig(kind="mmr", params={"relevance": 1.0}))
    return measure_serving(changed)


def test_the_model_alone_is_two_stage(trained: Workspace, report: ServingReport) -> None:
    expected = evaluate(trained)[0].line(TWO_STAGE).metrics
    assert {name: expected[name] for name in report.alone.metrics} == report.alone.metrics
    assert {"ndcg@10", "recall@10", "diversity@10", "novelty@10"} <= set(report.alone.metrics)


def test_every_kind_of_rule_and_order_is_there(report: ServingReport) -> None:
    measured = [effect for effect in report.effects if effect.line is not None]
    assert {effect.name.split(" ")[0] for effect in measured if effect.kind == "rule"} == set(RULES)
    orders = [effect.name.split(" ")[0].rstrip(":") for effect in measured if effect.kind == "order"]
    assert {"mmr", "calibrated", "pin", "explore", "unfamiliar"} <= set(orders)


def test_a_rule_that_removes_everything_costs_everything(report: ServingReport) -> None:
    first = report.effects[0]
    assert (first.removed, first.line.metrics["ndcg@10"]) == (1.0, 0.0)
    assert first.difference.mean == pytest.approx(-report.alone.metrics["ndcg@10"])
    assert first.difference.verdict == "worse"


def test_an_order_that_changes_nothing_costs_nothing(report: ServingReport) -> None:
    first = next(effect for effect in report.effects if effect.kind == "order")
    assert first.name == "mmr relevance: 1.0"
    assert first.difference.mean == 0.0
    assert first.line.metrics == report.alone.metrics


def test_a_cap_makes_lists_more_diverse_and_a_denied_item_is_gone(report: ServingReport) -> None:
    by_name = {effect.name: effect for effect in report.effects}
    assert by_name["mmr"].line.metrics["diversity@10"] > report.alone.metrics["diversity@10"]
    assert by_name["deny items: 10 values"].removed > 0


def test_what_can_not_be_measured_says_why(report: ServingReport) -> None:
    reasons = {effect.name: effect.skipped for effect in report.effects if effect.skipped}
    assert "context (brand)" in reasons["attribute_equals column: item_brand, from_context: brand"]
    assert "nowhere" in reasons["fresh days: 3, column: nowhere"]


def test_command(trained: Workspace, copy_of: Callable, rankhouse: Callable) -> None:
    workspace = copy_of(trained)
    status, printed = rankhouse(workspace, "evaluate", "--serving")
    assert status == 0
    assert "model alone" in printed
    assert len(json.loads(report_path(workspace).read_text())["effects"]) > 15
