"""Pair features through the store: what stage one published at a cut, and nothing that happened from then on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from candidate_gen.configured import configured_sources
from candidate_gen.entity_table import write_candidates
from candidate_gen.interactions import read_interactions
from feature_repo import store
from feature_repo.workspace import Workspace

CUT = datetime(2024, 1, 31, tzinfo=UTC)
FEATURES = ["vector_products:als_dot", "vector_products:als_cosine", "user_vectors:user_als_norm"]
FEATURES += [f"history_similarity:knn_similarity_{how}" for how in ("max", "mean", "sum", "recent", "position", "last")]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workspaces name themselves in the environment."""
    for name in ("RANKHOUSE_DATA_DIR", "RANKHOUSE_CONFIG"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return None


def features_of(workspace: Workspace, moment: datetime) -> pa.Table:
    """Every pair of a user and an item of the log before the cut, at a moment."""
    with workspace.connect() as connection:
        pairs = connection.sql(
            "SELECT DISTINCT a.user_id, b.item_id FROM events a, events b "
            f"WHERE a.event_timestamp < '{CUT}' AND b.event_timestamp < '{CUT}' ORDER BY ALL"
        ).to_arrow_table()
    stamps = pa.array([moment] * pairs.num_rows, pa.timestamp("us", "UTC"))
    frame = pairs.append_column("event_timestamp", stamps).append_column("request_time", stamps)
    opened = store.apply(workspace)
    with store.quiet():
        return opened.get_historical_features(entity_df=frame, features=FEATURES).to_arrow()


def names_of(table: pa.Table) -> list[str]:
    return [feature.partition(":")[2] for feature in FEATURES if feature.partition(":")[2] in table.column_names]


def test_events_from_the_cut_on_change_no_pair_feature(make_workspace, random_events, tmp_path: Path) -> None:
    events = random_events(1)
    before, after = [e for e in events if e[2] < 30.0], [e for e in events if e[2] >= 30.0]
    shuffled = [(user, item, day, "buy") for (user, _, day, _), (_, item, _, _) in zip(after, after[::-1], strict=True)]
    extra = [(f"a{number}", f"b{number}", 30.0 + number, "buy") for number in range(7)]
    again = [(user, item, 30.0, "buy") for user, item, _, _ in before[:40]]
    past = [("u5", "i5", 29.999, "buy"), ("u9", "i7", 29.5, "buy")]
    found = []
    for number, log in enumerate((events, [*before, *shuffled, *extra, *again], [*events, *past])):
        workspace = make_workspace(tmp_path / str(number), log)
        write_candidates(workspace, [CUT], "all")
        found.append(features_of(workspace, CUT))
    assert names_of(found[0]) == [feature.partition(":")[2] for feature in FEATURES]
    assert all(found[0][name].null_count < 0.5 * found[0].num_rows for name in names_of(found[0]))
    assert found[1].equals(found[0])
    assert not found[2].equals(found[0])


def test_pairs_that_nobody_proposed_are_scored_as_their_source_would(make_workspace, random_events, tmp_path) -> None:
    workspace = make_workspace(tmp_path / "d", random_events(2))
    write_candidates(workspace, [CUT], "all")
    found = features_of(workspace, CUT)
    with workspace.connect() as connection:
        log = read_interactions(connection, CUT)
    source = configured_sources(workspace.config.candidates)["als"].fit(log)
    scores = source.score(*(found[key].combine_chunks() for key in ("user_id", "item_id")))
    np.testing.assert_allclose(found["als_dot"].to_numpy(), scores.to_numpy(zero_copy_only=False), rtol=1e-4, atol=1e-6)


def test_the_newest_fit_replaces_the_older_one_as_a_whole(make_workspace, random_events, tmp_path) -> None:
    workspace = make_workspace(tmp_path / "d", random_events(3))
    later = CUT + timedelta(days=7)
    write_candidates(workspace, [CUT], "all")
    alone = features_of(workspace, CUT)
    write_candidates(workspace, [later], pa.array(["u7", "u9"]))
    again = features_of(workspace, CUT)
    assert again.select(alone.column_names).equals(alone)  # Feast puts the views' columns in any order
    assert (
        features_of(workspace, later - timedelta(seconds=1))
        .select(names_of(alone))
        .equals(alone.select(names_of(alone)))
    )
    then = features_of(workspace, later)
    owners = then["user_id"].to_pylist()
    known = {user for user, dot in zip(owners, then["als_dot"].to_pylist(), strict=True) if dot is not None}
    assert known == {"u7", "u9"}
