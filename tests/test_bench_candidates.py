"""`scripts/bench candidates` without the peers' environment: its parts on a tiny log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from feature_repo.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts" / "benchmarks"))

import candidates


def test_sources_with_a_counterpart_are_judged_without_it_too(tiny_lake: Workspace, tmp_path: Path) -> None:
    rows = candidates.run_peers_beside(tiny_lake, tmp_path, peers=False)
    found = {(row.case, row.metric): row for row in rows}
    assert found["als", "ndcg@10"].ours > 0  # the median of its seeds
    assert {case for case, metric in found if metric == "recall@100"} == {
        "popular", "recent popularity", "als", "bm25 knn", "tfidf knn", "cosine knn", "ease",
    }  # fmt: skip
    assert all(row.peer is None for row in rows)


def test_all_sources_are_timed_one_by_one_in_a_process_of_their_own(
    tiny_lake: Workspace, copy_of: Callable[[Workspace], Workspace]
) -> None:
    rows = candidates.run_all_sources(copy_of(tiny_lake), "all sources", 1)
    found = {(row.case, row.metric): row.ours for row in rows}
    assert found["all sources", "pairs"] > found["all sources", "users"] > 0
    assert found["all sources: als", "time to fit"] > 0
    assert found["all sources: als", "time to propose and score"] > 0


@pytest.mark.parametrize("budget", [5, 30])
def test_depths_are_scaled_to_the_budget(tiny_lake: Workspace, monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    monkeypatch.setattr(candidates, "BUDGETS", (budget,))
    found = {(row.case, row.metric): row.ours for row in candidates.run_configured(tiny_lake)}
    assert 0 < found[f"union <= {budget}", "candidates"] <= budget
