from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from feature_repo.workspace import Workspace
from ranking import looks
from ranking.ablation import WHOLE, ablate
from ranking.ablation_cases import with_depths, without_columns
from ranking.ablation_rereading import best_source, stale_judge
from ranking.train import Materials, read_materials

Run = Callable[..., tuple[int, str]]
SOURCES = ("recent_popularity", "als", "bm25_knn")


@pytest.fixture(scope="module")
def materials(trained: Workspace) -> Materials:
    return read_materials(trained)


def test_columns_are_dropped_everywhere(materials: Materials) -> None:
    names = materials.encoding.names
    fewer = without_columns(materials, [0, 3])
    assert fewer.encoding.names == [name for place, name in enumerate(names) if place not in (0, 3)]
    np.testing.assert_array_equal(fewer.train.matrix, np.delete(materials.train.matrix, [0, 3], axis=1))
    np.testing.assert_array_equal(fewer.judge.matrix, np.delete(materials.judge.matrix, [0, 3], axis=1))


def test_depths_keep_what_a_source_proposes_so_deep(materials: Materials) -> None:
    fewer = with_depths(materials, {"als": 5})
    names = materials.encoding.names
    rank = fewer.judge.matrix[:, names.index("als_rank")]
    assert rank.max() <= 5
    assert (fewer.judge.groups.sizes <= 5).all()
    assert fewer.judge.groups.sizes.sum() == len(fewer.judge.matrix) == len(fewer.judge.hit)
    assert len(fewer.judge.user_ids) == len(fewer.judge.groups.sizes) == len(fewer.judge.relevant)
    assert fewer.judge.users == materials.judge.users
    positives = np.bincount(fewer.train.groups.number(), weights=fewer.train.labels > 0)
    assert (positives > 0).all()


def test_the_whole_depth_changes_nothing_about_the_judge(trained: Workspace, materials: Materials) -> None:
    same = with_depths(materials, {name: 15 for name in SOURCES})
    np.testing.assert_array_equal(same.judge.matrix, materials.judge.matrix)
    np.testing.assert_array_equal(same.judge.groups.sizes, materials.judge.groups.sizes)


def test_every_part_is_a_case_and_the_test_window_stays_unseen(trained: Workspace) -> None:
    before = looks.read(trained.data_dir)
    report = ablate(trained, ["sources", "cuts", "objectives"], seeds=2)
    assert looks.read(trained.data_dir) == before
    whole, *cases = report.cases
    assert (whole.name, whole.difference, len(whole.ndcg)) == (WHOLE, None, 2)
    for source in SOURCES:
        case = next(case for case in cases if case.name.startswith(f"without {source} "))
        assert case.rows < whole.rows
        assert case.columns < whole.columns
    assert [case.kind for case in cases].count("cuts") == 1
    for case in cases:
        assert case.difference.mean == pytest.approx(case.mean - whole.mean)
        assert case.difference.low <= case.difference.mean <= case.difference.high
    assert ablate(trained, ["cuts"], seeds=2).cases[0] == whole


def test_cases_that_read_again(trained: Workspace) -> None:
    before = looks.read(trained.data_dir)
    report = ablate(trained, ["negatives", "horizon", "split", "refit"], seeds=1)
    assert looks.read(trained.data_dir) == before
    cases = {case.name: case for case in report.cases}
    assert {"random items alone", "popular items alone", "first stage and features one cut old"} <= set(cases)
    assert "candidates alone" not in cases  # as configured
    splits = [case for case in report.cases if case.kind == "split"]
    assert splits[-1].ndcg == report.cases[0].ndcg[:1]
    assert {case.difference.against for case in splits} <= set(SOURCES)
    stale = cases["first stage and features one cut old"]
    assert 0 < stale.users <= report.users
    assert (stale.rows, stale.rounds) == (report.cases[0].rows, report.cases[0].rounds)
    assert 0 < cases["the ranker without the newest label window"].rows < report.cases[0].rows
    half = cases["labels that reach half as far"]
    assert half.rows < report.cases[0].rows
    assert (half.users, half.difference.against) == (report.cases[0].users, WHOLE)


def test_a_stale_list_holds_what_was_proposed_then_and_is_unseen_now(trained: Workspace, materials: Materials) -> None:
    stale = stale_judge(trained, materials)
    assert stale.users == materials.judge.users
    known = set(materials.judge.user_ids.to_pylist())
    assert set(stale.user_ids.to_pylist()) <= known
    names = materials.encoding.names
    proposed = np.column_stack([stale.matrix[:, names.index(f"{name}_proposed")] for name in SOURCES])
    assert (proposed > 0).any(axis=1).all()
    assert not np.array_equal(stale.matrix, materials.judge.matrix)


def test_the_best_source_ranks_by_its_own_places(materials: Materials) -> None:
    judge, names = materials.judge, materials.encoding.names
    name, values = best_source(judge, names, SOURCES)
    by_hand = {}
    for source in SOURCES:
        rank, proposed = (judge.matrix[:, names.index(f"{source}_{what}")] for what in ("rank", "proposed"))
        by_hand[source] = judge.per_group(np.where(proposed > 0, 1000.0 - rank, -np.inf))
    assert values.mean() == max(found.mean() for found in by_hand.values())
    np.testing.assert_array_equal(values, by_hand[name])


def test_the_command_prints_and_writes_the_cases(trained: Workspace, rankhouse: Run, tmp_path: Path) -> None:
    file = tmp_path / "ablation.json"
    status, printed = rankhouse(trained, "ablate", "--only", "cuts", "--seeds", "1", "--json", str(file))
    assert status == 0, printed
    assert "the last 1 of 2" in printed
    assert [case["kind"] for case in json.loads(file.read_text())["cases"]] == ["", "cuts"]
    status, printed = rankhouse(trained, "ablate", "--only", "sauces")
    assert status == 2
    assert 'Did you mean "sources"?' in printed
