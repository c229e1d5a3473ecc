from __future__ import annotations

from io import StringIO

from rich.console import Console

from ranking.evaluate import TWO_STAGE, UNION, Difference, Evaluation, Line
from ranking.metrics import HEADLINE
from ranking.report import render, sentence


def line(name: str, value: float) -> Line:
    metrics = {f"{metric}@10": value for metric in (*HEADLINE, "coverage")}
    return Line(name, metrics, {"20": value, "50": value, "100": value, "all": value})


def report(names: list[str]) -> Evaluation:
    return Evaluation(
        model="lambdarank-0",
        test_start="2024-01-01T00:00:00+00:00",
        test_end="2024-02-01T00:00:00+00:00",
        k=10,
        users=1155,
        pairs=52175,
        catalogue=3000,
        validation={"validation ndcg@10": 0.1},
        lines=[line(name, 0.1 + number / 100) for number, name in enumerate(names)],
        difference=Difference("als", "ndcg@10", 0.02, 0.01, 0.03),
    )


def test_the_tables_fit_a_narrow_terminal() -> None:
    console = Console(width=80, record=True, file=StringIO())
    console.print(render(report(["segment_popularity", UNION, TWO_STAGE])))
    text = console.export_text()
    assert "…" not in text
    for word in ("segment_popularity", "1,155 users", "HitRate", "Coverage", "@100", "two-stage is better than als"):
        assert word in text


def test_only_an_interval_without_zero_is_called_better_or_worse() -> None:
    assert "is better than" in sentence(Difference("als", "ndcg@10", 0.02, 0.001, 0.03))
    assert "is worse than" in sentence(Difference("als", "ndcg@10", -0.02, -0.04, -0.001))
    assert "is not different from" in sentence(Difference("als", "ndcg@10", 0.02, -0.001, 0.04))


def test_a_report_survives_json() -> None:
    import json
    from dataclasses import asdict

    original = report(["als", UNION, TWO_STAGE])
    assert Evaluation.from_json(json.dumps(asdict(original))) == original
