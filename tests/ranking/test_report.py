from __future__ import annotations

from dataclasses import replace
from io import StringIO

from rich.console import Console

from ranking.comparison import Difference
from ranking.evaluation import TWO_STAGE, UNION, Evaluation, Line, Part
from ranking.metrics import HEADLINE
from ranking.report import render, sentence

ALS = Difference("segment_popularity", "ndcg@10", 0.02, 0.01, 0.03)


def line(name: str, value: float) -> Line:
    names = (*HEADLINE, "coverage", "novelty", "popularity", "captured")
    metrics = {f"{metric}@10": value for metric in names} | {"diversity@10": None, "precision@1": value}
    metrics |= {f"ndcg@{depth}": value for depth in (5, 20, 50)}
    difference = None if name == TWO_STAGE else Difference(name, "ndcg@10", -0.0123, -0.0145, -0.0111)
    return Line(name, metrics, {"20": value, "50": value, "100": value, "all": value}, difference)


def report(names: list[str]) -> Evaluation:
    values = {"ndcg@10": 0.2, "recall@10": 0.3}
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
        differences=[ALS, Difference("segment_popularity", "precision@10", 0.02, -0.01, 0.03)],
        parts=[Part("history", "6-20", 1000, values, values, ALS), Part("gender", "f", 55, values, values, ALS)],
    )


def test_the_tables_fit_a_narrow_terminal() -> None:
    console = Console(width=80, record=True, file=StringIO())
    console.print(render(report(["segment_popularity", UNION, TWO_STAGE])))
    text = console.export_text()
    assert "…" not in text
    words = ["segment_popularity", "1,155 users", "HitRate", "Coverage", "@100", "NDCG@50", "6-20", "gender", "–"]
    for word in (*words, "worse", "not different", "two-stage is better than segment_popularity"):
        assert word in text


def test_the_cut_is_told_to_the_microsecond() -> None:
    console = Console(width=200, record=True, file=StringIO())
    console.print(render(replace(report([UNION, TWO_STAGE]), test_start="2024-01-01T00:00:00.136000+00:00")))
    assert "Test window 2024-01-01T00:00:00.136000 to 2024-02-01T00:00:00 UTC" in console.export_text()


def test_only_an_interval_without_zero_is_called_better_or_worse() -> None:
    assert "is better than" in sentence(Difference("als", "ndcg@10", 0.02, 0.001, 0.03))
    assert "is worse than" in sentence(Difference("als", "ndcg@10", -0.02, -0.04, -0.001))
    assert "is not different from" in sentence(Difference("als", "ndcg@10", 0.02, -0.001, 0.04))


def test_a_report_survives_json() -> None:
    import json
    from dataclasses import asdict

    original = report(["als", UNION, TWO_STAGE])
    assert Evaluation.from_json(json.dumps(asdict(original))) == original
