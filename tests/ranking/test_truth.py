from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.config import load_config
from feature_repo.lake import Lake, Load, Manifest
from feature_repo.periods import Window, resolve_periods
from ranking.truth import Truth, read_truth

CUT, END = 10.0, 20.0
EVENTS = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.integers(1, 5),
        st.sampled_from([1.0, 5.0, CUT, 15.0, END, 25.0]),
        st.sampled_from(["buy", "click", "dislike", "view"]),
    ),
    min_size=1,
    max_size=40,
)
LISTS = {
    "user_id": pa.array([1, 1, 1, 9], pa.int64()),
    "item_id": pa.array([7, 8, 6, 7], pa.int64()),
    "rank": pa.array([2, 1, 3, 1], pa.int32()),
}


def oracle(events: list[tuple[int, int, float, str]], allow_repeats: bool) -> set[tuple[int, int]]:
    users = {user for user, _, day, _ in events if day < CUT}
    items = {item for _, item, day, _ in events if day < CUT}
    seen = {(user, item) for user, item, day, kind in events if day < CUT and kind != "view"}
    targets = {(user, item) for user, item, day, kind in events if CUT <= day < END and kind in ("buy", "click")}
    return {pair for pair in targets if pair[0] in users and pair[1] in items and (allow_repeats or pair not in seen)}


def pairs_of(truth: Truth) -> list[tuple[int, int]]:
    users = truth.users.to_numpy(zero_copy_only=False)[truth.user]
    return list(zip(users.tolist(), truth.items.to_pylist(), strict=True))


@settings(derandomize=True, max_examples=40, deadline=None)
@given(EVENTS, st.booleans())
def test_truth_equals_the_protocol(write_log, day, tmp_path_factory, events, allow_repeats) -> None:
    lake: Lake = write_log(tmp_path_factory.mktemp("lake"), events)
    with lake.connect(load_config()) as connection:
        truth = read_truth(connection, Window(day(CUT), day(END)), allow_repeats=allow_repeats)
    expected = oracle(events, allow_repeats)
    assert pairs_of(truth) == sorted(expected)
    assert truth.users.to_pylist() == sorted({user for user, _ in expected})
    assert truth.relevant.sum() == len(expected)
    assert truth.catalogue == len({item for _, item, when, _ in events if when < CUT})


def test_hits_follow_rank_and_skip_users_who_are_not_judged(write_log, day, tmp_path: Path) -> None:
    log = [(1, 1, 1.0, "buy"), (1, 7, 1.0, "view"), (2, 6, 1.0, "buy"), (1, 7, 12.0, "buy"), (1, 6, 12.0, "buy")]
    lake: Lake = write_log(tmp_path, log)
    with lake.connect(load_config()) as connection:
        truth = read_truth(connection, Window(day(CUT), day(END)), allow_repeats=False)
    np.testing.assert_array_equal(truth.hits(pa.table(LISTS), 4), [[False, True, True, False]])
    np.testing.assert_array_equal(truth.hits(pa.table(LISTS), 2), [[False, True]])
    assert truth.relevant.tolist() == [2]


def test_the_truth_among_some_users(write_log, day, tmp_path: Path) -> None:
    users = range(1, 6)
    log = [(user, item, 1.0, "buy") for user in users for item in (user, 9)]
    log += [(user, item, 12.0, "buy") for user in users for item in users]
    with write_log(tmp_path, log).connect(load_config()) as connection:
        truth = read_truth(connection, Window(day(CUT), day(END)), allow_repeats=False)
    some = truth.among(pa.array([4, 2, 77]))
    assert pairs_of(some) == [pair for pair in pairs_of(truth) if pair[0] in (2, 4)]
    assert some.users.to_pylist() == [2, 4]
    assert some.relevant.tolist() == [4, 4]


MOVIELENS = Path(__file__).parents[2] / ".." / "shared" / "data" / "ml-1m-positives" / "ratings.dat"


@pytest.mark.skipif(not MOVIELENS.exists(), reason="the MovieLens-1M ratings are not beside the repository")
def test_movielens_1m_has_the_published_test_window(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    (lake.root / "events").mkdir(parents=True)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            "COPY (SELECT f[1]::BIGINT AS user_id, f[2]::BIGINT AS item_id, to_timestamp(f[4]::BIGINT) AS "
            "event_timestamp, 'rating' AS event_type, f[3]::DOUBLE AS value, NULL::VARCHAR AS origin FROM (SELECT "
            "string_split(line, '::') AS f FROM read_csv(?, delim = '\t', header = false, columns = {'line': 'VARCHAR'}"
            f"))) TO '{lake.root / 'events' / '000001.parquet'}' (FORMAT parquet)",
            [str(MOVIELENS)],
        )
    load = Load("test", "ml", {"events": 575_281}, {"events": ["events/000001.parquet"]})
    roles = {"targets": {"rating": 1.0}, "consuming": ["rating"]}
    lake.commit(Manifest("ml", "int64", "int64", roles, loads=(load,)))
    config = load_config()
    with lake.connect(config) as connection:
        periods = resolve_periods(connection, config, lake.now(config))
        truth = read_truth(connection, periods.test, allow_repeats=False)
    assert periods.test.start == datetime(2000, 12, 27, 17, 40, 55, tzinfo=UTC)
    assert (len(truth.users), len(truth.items)) == (1_155, 52_175)
