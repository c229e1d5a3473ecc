"""Positives that no source proposed: which ones are added on request, and that nothing judged or later is touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.config import load_config
from feature_repo.periods import Window
from feature_repo.workspace import Workspace
from ranking.lost_positives import with_lost_positives
from ranking.train import read_materials
from ranking.training_set import Spine, read_spine

# Users 1 and 2 have the candidates 5 and 6. Item 50 was consumed by user 1, items 5 to 9 are known from user 3.
BEFORE = [(3, item, 1.0, "buy") for item in range(5, 10)] + [(1, 50, 2.0, "buy"), (2, 5, 2.0, "view")]
WINDOW = [(1, 5, 12.0, "buy"), (1, 7, 13.0, "buy"), (1, 50, 13.0, "buy"), (1, 60, 13.0, "buy"), (2, 6, 12.0, "buy")]
OTHERS = [(3, 7, 12.0, "view"), (4, 8, 12.0, "buy"), (1, 8, 12.0, "view"), (1, 9, 25.0, "buy")]


@pytest.fixture
def added(write_log, day, tmp_path: Path):
    """Add to the candidates 5 and 6 of users 1 and 2, labelled in days 10 to 20."""
    candidates = pa.table({"user_id": pa.array([1, 1, 2, 2]), "item_id": pa.array([5, 6, 5, 6])})
    window = Window(day(10), day(20))

    def add(log: list, *, repeats: bool = False) -> tuple[Spine, Spine]:
        lake = write_log(tmp_path / "log", log)
        with lake.connect(load_config()) as connection:
            spine = read_spine(connection, candidates, window, [0.0, 1.0], before=day(20))
            return spine, with_lost_positives(connection, spine, window, [0.0, 1.0], allow_repeats=repeats)

    return add


def test_what_a_list_could_have_shown_is_added_in_its_place(added) -> None:
    before, after = added([*BEFORE, *WINDOW, *OTHERS])
    assert pairs(after) == [(1, 5, 1), (1, 6, 0), (1, 7, 1), (2, 5, 0), (2, 6, 1)]
    assert after.rows.schema == before.rows.schema
    # Item 50 was consumed before the cut and item 60 had no event before it: both stay lost.
    assert (before.lost, after.lost) == (3, 2)


def test_what_was_consumed_counts_where_repeats_are_allowed(added) -> None:
    _, after = added([*BEFORE, *WINDOW, *OTHERS], repeats=True)
    assert pairs(after) == [(1, 5, 1), (1, 6, 0), (1, 7, 1), (1, 50, 1), (2, 5, 0), (2, 6, 1)]


def test_nothing_lost_changes_nothing(added) -> None:
    before, after = added([*BEFORE, WINDOW[0], WINDOW[-1]])
    assert after.rows.equals(before.rows)
    assert after.lost == before.lost == 0


def test_the_chain_learns_from_them_and_judges_what_was_proposed(trained: Workspace) -> None:
    ranker = trained.config.ranker.model_copy(update={"add_lost_positives": True})
    config = trained.config.model_copy(update={"ranker": ranker})
    plain, other = read_materials(trained), read_materials(Workspace(trained.data_dir, config, trained.config_path))
    positives = [int((materials.train.labels > 0).sum()) for materials in (plain, other)]
    assert positives[1] - positives[0] == plain.lost - other.lost > 0
    outside = other.train.matrix[:, other.encoding.names.index("in_union")] == 0
    assert (other.train.labels[outside] > 0).all()
    assert (other.validation.labels > 0).sum() > (plain.validation.labels > 0).sum()
    np.testing.assert_array_equal(other.judge.hit, plain.judge.hit)


def pairs(spine: Spine) -> list[tuple[int, int, int]]:
    names = ("user_id", "item_id", "label")
    return list(zip(*(spine.rows[name].to_pylist() for name in names), strict=True))
