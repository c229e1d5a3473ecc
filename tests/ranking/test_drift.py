from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from feature_repo.config import DriftConfig, load_config
from feature_repo.workspace import Workspace
from ranking import model_store
from ranking.drift import Reference, Shift, active_users, beyond_chance, measure_drift, reference, shifts

Run = Callable[..., tuple[int, str]]

NAMES = ["few", "many", "nulls"]


def world(seed: int, rows: int = 3000, move: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    few = rng.integers(0, 4, rows) + (rng.random(rows) < move)
    many = rng.normal(size=rows) + move
    nulls = np.where(rng.random(rows) < 0.3 + move / 4, np.nan, rng.exponential(size=rows))
    return np.column_stack([few, many, nulls]).astype(np.float32)


def psi_of(then: np.ndarray, now: np.ndarray, ends: list[float]) -> float:
    """The textbook: shares of bins (..., end], nulls apart, a floor under empty bins."""
    total = 0.0
    edges = [-np.inf, *ends, np.inf]
    for low, high in [(None, None), *pairwise(edges)]:
        shares = [
            max(1e-4, float(np.mean(np.isnan(side) if low is None else (side > low) & (side <= high))))
            for side in (then, now)
        ]
        total += (shares[1] - shares[0]) * np.log(shares[1] / shares[0])
    return total


def test_the_training_set_has_not_drifted_from_itself() -> None:
    matrix = world(0)
    for shift in shifts(reference(matrix, NAMES), matrix, NAMES):
        assert (shift.psi, shift.ks) == (0.0, 0.0)
        assert shift.null_then == shift.null_now


def test_psi_and_ks_equal_the_textbook() -> None:
    then, now = world(0), world(1, rows=2000, move=0.4)
    described = reference(then, NAMES)
    found = {shift.name: shift for shift in shifts(described, now, NAMES)}
    for place, name in enumerate(NAMES):
        column = described.columns[name]
        ends = [column.points[end] for end in column.bins]
        assert found[name].psi == pytest.approx(psi_of(then[:, place], now[:, place], ends), abs=2e-3)
        # As in the report, nulls come first; beyond 100 values KS is read at quantiles, so it may miss a hundredth.
        exact = ks_2samp(*(np.nan_to_num(side[:, place], nan=-1e9) for side in (then, now))).statistic
        assert exact - 0.011 <= found[name].ks <= exact + 1e-6
    assert found["many"].exceeds(DriftConfig(psi=0.1))


def test_what_is_new_or_gone_is_drift() -> None:
    then = np.ones((1000, 1), np.float32)
    for now in (np.full((500, 1), 7, np.float32), np.full((500, 1), np.nan, np.float32), then - 5):
        [shift] = shifts(reference(then, ["x"]), now, ["x"])
        assert shift.ks == 1.0
        assert shift.psi > 5
    [shift] = shifts(reference(np.full((9, 1), np.nan, np.float32), ["x"]), then, ["x"])
    assert shift.ks == 1.0


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.just(np.nan), st.floats(-1e6, 1e6, width=32), st.integers(0, 2)), min_size=1, max_size=300)
)
def test_any_column_survives_json_and_is_at_rest(values: list[float]) -> None:
    matrix = np.array(values, np.float32)[:, None]
    described = reference(matrix, ["x"])
    again = Reference.from_json(described.to_json())
    assert again == described
    [shift] = shifts(again, matrix, ["x"])
    assert (shift.psi, shift.ks) == (0.0, 0.0)


def test_a_threshold_is_exceeded_by_either_measure() -> None:
    limits = DriftConfig(psi=0.2, ks=0.3)
    assert not Shift("x", 0.2, 0.3, 0, 0).exceeds(limits)
    assert Shift("x", 0.21, 0.0, 0, 0).exceeds(limits)
    assert Shift("x", 0.0, 0.31, 0, 0).exceeds(limits)


def test_a_large_training_set_is_sampled_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranking.drift.ROWS", 500)
    matrix = world(0)
    assert reference(matrix, NAMES) == reference(matrix, NAMES)
    assert reference(matrix, NAMES).rows == 500


def test_rows_of_few_users_move_by_chance_alone() -> None:
    limits = DriftConfig(psi=0.1, ks=0.1)
    assert beyond_chance(limits, (0, 500)) == limits
    rng = np.random.default_rng(4)
    # A column of the user: 200 rows each say the same, so there are 30 draws, not 6,000.
    then, now = (np.repeat(rng.normal(size=30), 200).astype(np.float32)[:, None] for _ in range(2))
    [shift] = shifts(reference(then, ["x"]), now, ["x"], least=0.5 / 30)
    assert shift.exceeds(limits)
    assert not shift.exceeds(beyond_chance(limits, (30, 30)))
    [planted] = shifts(reference(then, ["x"]), now + 2, ["x"], least=0.5 / 30)
    assert planted.exceeds(beyond_chance(limits, (30, 30)))


def test_patterns_name_what_is_ignored() -> None:
    limits = DriftConfig(ignore=["*_all", "als_?"])
    assert [limits.ignores(name) for name in ("user_events_all", "als_x", "als_xy", "all_users")] == [
        True,
        True,
        False,
        False,
    ]


def _at_rest(trained: Workspace) -> Workspace:
    shipped = trained.config.model_copy(update={"drift": load_config().drift})
    return Workspace(trained.data_dir, shipped, trained.config_path)


def test_a_world_at_rest_is_quiet_with_the_shipped_settings(trained: Workspace) -> None:
    report = measure_drift(_at_rest(trained))
    assert report.reference_cut == trained.periods.validation.start.isoformat() < report.cut
    assert report.days > 0
    assert "user_events_all" in report.ignored
    assert len(report.shifts) > 50
    assert [shift.name for shift in report.shifts if shift.psi > report.psi or shift.ks > report.ks] == []
    assert report.drifted == 0
    before, lately = report.pace
    assert 0.5 < lately / before < 2


def test_the_reference_is_of_users_who_had_acted_lately(trained: Workspace) -> None:
    then = model_store.read_reference(trained, model_store.current(trained))
    cut = trained.periods.validation.start
    lately = active_users(trained, cut, then.days)
    assert 0 < then.users <= len(lately)
    with trained.connect() as connection:
        [(first, last)] = connection.execute(
            "SELECT min(last), max(last) FROM (SELECT max(event_timestamp) AS last FROM events "
            "WHERE event_timestamp < ? AND user_id IN (SELECT unnest(?)) GROUP BY user_id)",
            [cut, lately.to_pylist()],
        ).fetchall()
    assert (cut - first).total_seconds() <= then.days * 86_400
    assert last < cut


def test_a_planted_shift_is_found(
    trained: Workspace, copy_of: Callable[[Workspace], Workspace], rankhouse: Run
) -> None:
    workspace = copy_of(_at_rest(trained))
    name = model_store.current(workspace)
    then = model_store.read_reference(workspace, name)
    column = then.columns["user_events_7d"]
    moved = replace(column, points=[point + 1000 for point in column.points])
    planted = replace(then, columns={**then.columns, "user_events_7d": moved})
    (workspace.models_path / name / model_store.REFERENCE).write_text(planted.to_json(), encoding="utf-8")
    report = measure_drift(workspace)
    assert (report.drifted, report.shifts[0].name) == (1, "user_events_7d")
    file = workspace.data_dir / "drift.json"
    status, printed = rankhouse(workspace, "drift", "--json", str(file))
    assert status == 1
    assert "drifted" in printed
    assert "Events a day" in printed
    assert json.loads(file.read_text(encoding="utf-8"))["reference_cut"] == report.reference_cut
