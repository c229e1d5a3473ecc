"""The chain on a tiny world: what it leaves on disk, that it says the same twice, that the future does not leak in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from math import log2
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from feature_repo.workspace import Workspace
from ranking import evaluate as evaluating
from ranking import matrices, model_store, training_set
from ranking.evaluate import evaluate
from ranking.evaluation import TWO_STAGE, UNION, read_report
from ranking.metrics import HEADLINE, K
from ranking.train import read_materials
from ranking.trees import scorer


def perturb_future(workspace: Workspace) -> None:
    """Give every event at or after T2 another item, value and type, and keep who acts when."""
    start = np.datetime64(workspace.periods.test.start.replace(tzinfo=None), "us")
    for path in map(Path, workspace.lake.paths("events")):
        table = pq.read_table(path)
        times = table["event_timestamp"].to_numpy()
        rows = np.arange(table.num_rows)
        later = rows[times >= start]
        rows[later] = later[::-1]
        for name in ("item_id", "value"):
            table = table.set_column(table.column_names.index(name), name, table[name].take(rows))
        pq.write_table(table, path)


def files_of_model(workspace: Workspace) -> dict[str, bytes]:
    folder = workspace.models_path / model_store.current(workspace)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_report_holds_every_ranking_and_the_export_its_rows(trained: Workspace) -> None:
    report = read_report(trained)
    assert [line.name for line in report.lines] == ["recent_popularity", "als", "bm25_knn", UNION, TWO_STAGE]
    again, lists = evaluate(trained)
    assert again == report
    counts = np.unique(lists["user_id"].to_numpy(), return_counts=True)[1]
    assert len(counts) >= report.users
    assert (counts <= K).all()
    assert pc.min(lists["rank"]).as_py() == 1
    assert len(set(zip(*(lists[name].to_pylist() for name in ("user_id", "item_id")), strict=True))) == lists.num_rows
    for line in report.lines:
        assert all(0 <= value <= 1 for value in line.recalls.values())
        assert all(value >= 0 for value in line.metrics.values())
        assert all(value <= 1 for name, value in line.metrics.items() if name.split("@")[0] in HEADLINE)
    union = report.line(UNION).recalls["all"]
    assert union >= max(line.recalls["all"] for line in report.lines)


def test_exported_items_were_not_consumed_before(trained: Workspace) -> None:
    _, lists = evaluate(trained)
    with trained.connect() as connection:
        connection.register("lists", lists)
        [(seen,)] = connection.execute(
            "SELECT count(*) FROM lists JOIN events USING (user_id, item_id) WHERE consuming AND event_timestamp < ?",
            [trained.periods.test.start],
        ).fetchall()
    assert seen == 0


def _score(hits: list[bool], relevant: int) -> dict[str, float]:
    """One list's metrics as textbooks write them."""
    ideal = min(relevant, K)
    precisions = [sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit]
    return {
        "ndcg": sum(1 / log2(place + 2) for place, hit in enumerate(hits) if hit)
        / sum(1 / log2(place + 2) for place in range(ideal)),
        "map": sum(precisions) / ideal,
        "recall": sum(hits) / relevant,
        "mrr": max((1 / (place + 1) for place, hit in enumerate(hits) if hit), default=0.0),
        "hitrate": float(any(hits)),
    }


def test_a_scorer_of_ones_own_gets_the_same_figures_from_the_exported_lists(trained: Workspace) -> None:
    report, lists = evaluate(trained)
    cut = datetime.fromisoformat(report.test_start)
    with trained.connect() as connection:
        log = connection.execute(
            "SELECT user_id, item_id, event_timestamp, target_weight > 0, consuming FROM events"
        ).fetchall()
    past = [event for event in log if event[2] < cut]
    users, items = {event[0] for event in past}, {event[1] for event in past}
    seen = {event[:2] for event in past if event[4]}
    relevant: dict[object, set] = defaultdict(set)
    for user, item, time, target, _ in log:
        if time >= cut and target and user in users and item in items and (user, item) not in seen:
            relevant[user].add(item)
    ranked = defaultdict(list)
    for row in lists.sort_by([("user_id", "ascending"), ("rank", "ascending")]).to_pylist():
        ranked[row["user_id"]].append(row["item_id"])
    scores = [_score([item in wanted for item in ranked[user]], len(wanted)) for user, wanted in relevant.items()]
    assert len(scores) == report.users
    for name in scores[0]:
        mean = sum(score[name] for score in scores) / len(scores)
        assert report.line(TWO_STAGE).metrics[f"{name}@{K}"] == pytest.approx(mean, abs=1e-12)


def test_a_test_cut_in_parts_is_judged_as_in_one_piece(trained: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    report, lists = evaluate(trained)
    seen = []
    whole_users = evaluating.whole_users

    def noted(batches, most: int):
        for rows in whole_users(batches, most):
            seen.append(rows["user_id"].to_pylist())
            yield rows

    monkeypatch.setattr(evaluating, "whole_users", noted)
    monkeypatch.setattr(evaluating, "READ_ROWS", 40)
    monkeypatch.setattr(scorer, "_MANY", 0)  # by our own trees instead of LightGBM's
    again, other_lists = evaluate(trained)
    assert again == report
    assert len(seen) > 3
    assert other_lists.equals(lists)
    users = [set(rows) for rows in seen]
    assert sum(map(len, users)) == len(set.union(*users))


def test_features_in_parts_train_the_same_model(trained: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_materials(trained)
    monkeypatch.setattr(training_set, "READ_ROWS", 1000)
    monkeypatch.setattr(matrices, "ROWS", 300)
    found = read_materials(trained)
    assert found.encoding == expected.encoding
    for ours, theirs in ((found.both, expected.both), (found.judge, expected.judge)):
        np.testing.assert_array_equal(ours.matrix, theirs.matrix)
        np.testing.assert_array_equal(ours.groups.sizes, theirs.groups.sizes)
    rows = len(found.train.matrix)
    for part, where in ((found.train, slice(0, rows)), (found.validation, slice(rows, None))):
        np.testing.assert_array_equal(part.matrix, found.both.matrix[where])
        np.testing.assert_array_equal(part.labels, found.both.labels[where])
        assert np.shares_memory(part.matrix, found.both.matrix)


def test_training_again_gives_the_same_bytes(
    trained: Workspace, copy_of: Callable[[Workspace], Workspace], files_of: Callable[[Workspace], dict[str, bytes]]
) -> None:
    from ranking.train import train

    copy = copy_of(trained)
    train(copy)
    before, after = files_of(trained), files_of(copy)
    assert {name: data for name, data in after.items() if name.startswith("models/")} == {
        name: data for name, data in before.items() if name.startswith("models/")
    }


def test_what_happens_from_the_test_cut_on_does_not_reach_training_or_the_lists(
    tiny_lake: Workspace, trained: Workspace, copy_of: Callable, run_chain: Callable
) -> None:
    other = copy_of(tiny_lake)
    perturb_future(other)
    run_chain(other)
    ours, theirs = read_materials(trained), read_materials(other)
    np.testing.assert_array_equal(ours.train.matrix, theirs.train.matrix)
    np.testing.assert_array_equal(ours.train.labels, theirs.train.labels)
    np.testing.assert_array_equal(ours.judge.matrix, theirs.judge.matrix)
    assert files_of_model(trained) == files_of_model(other)
    lists, other_lists = evaluate(trained)[1], evaluate(other)[1]
    both = set(lists["user_id"].to_pylist()) & set(other_lists["user_id"].to_pylist())
    assert len(both) > 20
    ours, theirs = (table.filter(pc.is_in(table["user_id"], value_set=_ids(both))) for table in (lists, other_lists))
    assert ours.equals(theirs)
    assert read_report(trained) != read_report(other)


def _ids(users: set[int]):
    import pyarrow as pa

    return pa.array(sorted(users))


def test_shuffled_labels_teach_nothing_on_the_chain(trained: Workspace) -> None:
    from dataclasses import replace

    from ranking.ranker import fit_ranker

    materials = read_materials(trained)
    shuffled = np.random.default_rng(0).permutation(materials.train.labels)
    config = trained.config.ranker
    fits = [
        fit_ranker(config, materials.gains, materials.encoding, replace(materials.train, labels=labels), rounds=20)
        for labels in (materials.train.labels, shuffled)
    ]
    real, nonsense = (materials.judge.ndcg(fit.booster.predict(materials.judge.matrix)) for fit in fits)
    assert nonsense < real


@pytest.mark.parametrize("objective", ["binary", "regression"])
def test_graded_labels_and_other_objectives_train(trained: Workspace, objective: str) -> None:
    from ranking.ranker import fit_ranker

    graded = trained.config.ranker.model_copy(update={"labels": "graded", "objective": objective})
    config = trained.config.model_copy(update={"ranker": graded})
    workspace = Workspace(trained.data_dir, config, trained.config_path)
    materials = read_materials(workspace)
    assert materials.gains == [0.0, 0.2, 1.0]
    assert set(np.unique(materials.train.labels)) == {0, 1, 2}
    fitted = fit_ranker(graded, materials.gains, materials.encoding, materials.train, judge=materials.judge)
    assert fitted.ndcg > 0
