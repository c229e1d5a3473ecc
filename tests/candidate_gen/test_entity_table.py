from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import sleep

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from candidate_gen import pipeline
from candidate_gen.configured import configured_sources
from candidate_gen.entity_table import cuts, read, write_candidates
from candidate_gen.interactions import read_interactions
from candidate_gen.pairs import NO_RANK
from candidate_gen.partitions import partition_path, read_partition
from candidate_gen.pipeline import Stage, _fit
from feature_repo.errors import ConfigError, DataError, FutureError, MissingError
from feature_repo.workspace import Workspace

START = datetime(2024, 1, 1, tzinfo=UTC)
CUT = START + timedelta(days=30)
NAMES = ("popular", "als", "knn")
VIEWS = ("candidates", "user_candidates")


def content(workspace, cut=CUT) -> list[bytes]:
    return [partition_path(workspace, view, cut).read_bytes() for view in VIEWS]


def test_every_pair_of_the_union_carries_every_sources_verdict(make_workspace, random_events, tmp_path):
    workspace = make_workspace(tmp_path / "d", random_events())
    [report] = write_candidates(workspace, [CUT], "all")
    table = read(workspace, CUT)
    assert report.rows == table.num_rows
    with workspace.connect() as connection:
        log = read_interactions(connection, CUT)
    rows = list(zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True))
    assert rows == sorted(set(rows))
    union, ranks = set(), {}
    for name, source in configured_sources(workspace.config.candidates).items():
        source.fit(log)
        top = source.recommend(log.user_ids, workspace.config.candidates.sources[name].depth)
        own = dict(
            zip(
                zip(top["user_id"].to_pylist(), top["item_id"].to_pylist(), strict=True),
                top["rank"].to_pylist(),
                strict=True,
            )
        )
        ranks[name] = [own.get(row, NO_RANK) for row in rows]
        union |= set(own)
        assert table[f"{name}_rank"].to_pylist() == ranks[name]
        assert table[f"{name}_proposed"].to_pylist() == [row in own for row in rows]
        score = source.score(table["user_id"].combine_chunks(), table["item_id"].combine_chunks())
        np.testing.assert_allclose(
            table[f"{name}_score"].to_numpy(), score.to_numpy(zero_copy_only=False), rtol=1e-5, atol=1e-7
        )
        assert table[f"{name}_zscore"].null_count == table[f"{name}_score"].null_count == score.null_count
    assert rows == sorted(union)
    by_pair = list(zip(*ranks.values(), strict=True))
    assert table["best_rank"].to_pylist() == [min(pair) for pair in by_pair]
    assert table["sources_count"].to_pylist() == [sum(rank != NO_RANK for rank in pair) for pair in by_pair]
    for stamp in ("event_timestamp", "created_timestamp", "cut"):
        assert set(table[stamp].to_pylist()) == {CUT}
        assert table.schema.field(stamp).type == pa.timestamp("us", tz="UTC")


def test_nothing_at_or_after_the_cut_changes_a_byte(make_workspace, random_events, tmp_path):
    events = random_events(1)
    before, after = [e for e in events if e[2] < 30.0], [e for e in events if e[2] >= 30.0]
    shuffled = [(user, item, day, "buy") for (user, _, day, _), (_, item, _, _) in zip(after, after[::-1], strict=True)]
    extra = [(f"a{number}", f"b{number}", 30.0 + number, "buy") for number in range(7)]  # ids that sort first
    one = make_workspace(tmp_path / "one", before + after)
    other = make_workspace(tmp_path / "other", before + shuffled + extra)
    for workspace in (one, other):
        write_candidates(workspace, [CUT], "all")
    assert content(one) == content(other)


def test_a_past_event_changes_them(make_workspace, random_events, tmp_path):
    events = random_events(1)
    one, other = (
        make_workspace(tmp_path / "one", events),
        make_workspace(tmp_path / "other", [*events, ("u5", "i5", 29.999, "buy")]),
    )
    for workspace in (one, other):
        write_candidates(workspace, [CUT], "all")
    assert content(one) != content(other)


def test_writing_again_gives_the_same_bytes_and_leaves_other_cuts(make_workspace, random_events, tmp_path):
    workspace = make_workspace(tmp_path / "d", random_events())
    later = CUT + timedelta(days=5)
    write_candidates(workspace, [later, CUT], "all")
    first, other = content(workspace), content(workspace, later)
    write_candidates(workspace, [CUT], "all")
    assert cuts(workspace) == [CUT, later]
    assert content(workspace) == first
    assert content(workspace, later) == other
    assert not [path for path in tmp_path.rglob("*.tmp")]


def test_users_get_the_same_candidates_whoever_else_asks(make_workspace, random_events, tmp_path):
    workspace = make_workspace(tmp_path / "d", random_events(users=40, events=600))
    write_candidates(workspace, [CUT], "all")
    everyone, lists = read(workspace, CUT), read_partition(workspace, "user_candidates", CUT, None, command="")
    some = pa.array(["u7", "u30", "u11"])
    write_candidates(workspace, [CUT], some)
    chosen = read(workspace, CUT)
    expected = everyone.filter(pa.compute.is_in(everyone["user_id"], some))
    assert chosen.equals(expected.combine_chunks())
    assert chosen.num_rows > 10
    few = read_partition(workspace, "user_candidates", CUT, None, command="")
    assert few.equals(lists.filter(pa.compute.is_in(lists["user_id"], some)).combine_chunks())


@pytest.mark.parametrize("size", [1, 3, 64])
def test_the_size_of_a_batch_does_not_show(make_workspace, random_events, tmp_path, size):
    workspace = make_workspace(tmp_path / "d", random_events())
    with workspace.connect() as connection:
        log = read_interactions(connection, CUT)
    config = workspace.config.candidates
    depths = {name: source.depth for name, source in config.sources.items()}
    stage = Stage.fit(log, configured_sources(config), depths, allow_repeats=False)
    users = np.array([*range(log.shape[0]), -1], np.int32)
    [whole] = stage.batches(users)
    parts = list(stage.batches(users, size=size))
    row = np.concatenate([part.row + number * size for number, part in enumerate(parts)])
    assert row.tolist() == whole.row.tolist()
    columns = [part.columns() for part in parts]
    for name, values in whole.columns().items():
        np.testing.assert_allclose(np.concatenate([part[name] for part in columns]), values, rtol=1e-5, atol=1e-6)


def test_consumed_items_are_never_proposed_to_their_own_user_only(make_workspace, random_events, tmp_path):
    events = random_events(2)
    workspace = make_workspace(tmp_path / "d", events)
    write_candidates(workspace, [CUT], "all")
    pairs = read(workspace, CUT, ["user_id", "item_id"]).to_pylist()
    found = {(pair["user_id"], pair["item_id"]) for pair in pairs}
    consumed = {(user, item) for user, item, day, kind in events if day < 30 and kind in ("buy", "skip")}
    assert not found & consumed
    viewed = {(user, item) for user, item, day, kind in events if day < 30 and kind == "view"} - consumed
    assert found & viewed
    # The most popular items must reach everyone who has not consumed them: nobody is filtered by another's history.
    popular = read(workspace, CUT, ["user_id", "item_id", "popular_rank"]).to_pylist()
    first = {row["user_id"]: row["item_id"] for row in popular if row["popular_rank"] == 1}
    buys = [item for _, item, day, kind in events if day < 30 and kind == "buy"]
    order = sorted(set(buys), key=lambda item: (-buys.count(item), item))
    for user, item in first.items():
        assert item == next(other for other in order if (user, other) not in consumed)


def test_repeats_are_a_choice_of_configuration_or_call(make_workspace, random_events, tmp_path):
    workspace = make_workspace(tmp_path / "d", random_events(), allow_repeats=True)
    write_candidates(workspace, [CUT], "all")
    repeating = content(workspace)
    write_candidates(workspace, [CUT], "all", allow_repeats=False)
    assert content(workspace) != repeating
    fresh = make_workspace(tmp_path / "e", random_events())
    write_candidates(fresh, [CUT], "all", allow_repeats=True)
    assert content(fresh) == repeating


@pytest.mark.parametrize("threads", [2, 5])
def test_the_number_of_threads_changes_no_byte(make_workspace, random_events, tmp_path, monkeypatch, threads):
    monkeypatch.setattr("candidate_gen.pipeline.LARGEST_BATCH", 4)
    events = random_events(users=30, items=40, events=700)
    one = make_workspace(tmp_path / "one", events, engine={"threads": 1})
    more = make_workspace(tmp_path / "more", events, engine={"threads": threads})
    for workspace in (one, more):
        write_candidates(workspace, [CUT], "all")
    names = [path.relative_to(one.feature_path("")) for path in sorted(one.feature_path("").rglob("*.parquet"))]
    assert len(names) == 6
    for name in names:
        assert (one.feature_path("") / name).read_bytes() == (more.feature_path("") / name).read_bytes()


def test_everyone_who_asks_gets_candidates(make_workspace, random_events, tmp_path):
    workspace = make_workspace(tmp_path / "d", random_events(), known=["cold"])
    write_candidates(workspace, [CUT], pa.array(["nobody", "cold", "u7", "u7"]))
    table = read(workspace, CUT, ["user_id", "als_score", "als_rank", "als_percentile", "popular_rank"]).to_pylist()
    cold = [row for row in table if row["user_id"] != "u7"]
    assert [row["popular_rank"] for row in cold].count(1) == 2
    assert {(row["als_score"], row["als_rank"], row["als_percentile"]) for row in cold} == {(None, NO_RANK, None)}
    write_candidates(workspace, [CUT], "all")
    assert "cold" in read(workspace, CUT, ["user_id"])["user_id"].to_pylist()


def test_user_lists_hold_the_users_candidates_best_first(make_workspace, random_events, tmp_path):
    workspace = make_workspace(tmp_path / "d", random_events())
    write_candidates(workspace, [CUT], "all")
    table = read(workspace, CUT)
    lists = read_partition(workspace, "user_candidates", CUT, None, command="")
    assert set(lists["cut"].to_pylist()) == {CUT}
    for row in lists.to_pylist():
        own = [pair for pair in table.to_pylist() if pair["user_id"] == row["user_id"]]
        fused = {
            pair["item_id"]: sum(1 / (60 + rank) for name in NAMES if (rank := pair[f"{name}_rank"]) != NO_RANK)
            for pair in own
        }
        assert set(row["candidate_items"]) == set(fused)
        np.testing.assert_allclose(row["candidate_scores"], [fused[item] for item in row["candidate_items"]], rtol=1e-6)
        assert row["candidate_scores"] == sorted(row["candidate_scores"], reverse=True)


def test_integer_ids_stay_integers(make_workspace, tmp_path):
    events = [
        (user, 10 - user + item, float(day), "buy") for day in range(8) for user in (30, 4) for item in range(day)
    ]
    workspace = make_workspace(
        tmp_path / "d", events, sources={"popular": {"class": "candidate_gen.popularity.Popularity"}}
    )
    write_candidates(workspace, [START + timedelta(days=5)], pa.array([4, 77]))
    table = read(workspace, START + timedelta(days=5), ["user_id", "item_id"])
    assert [field.type for field in table.schema] == [pa.int64(), pa.int64()]
    assert set(table["user_id"].to_pylist()) == {4, 77}


def test_active_users_have_a_past_and_a_label_in_the_window(make_workspace, random_events, tmp_path):
    events = [
        *random_events(5),
        ("late", "i5", 33.0, "buy"),
        ("past", "i5", 2.0, "buy"),
        ("watcher", "i5", 2.0, "buy"),
        ("watcher", "i6", 33.0, "view"),
    ]
    workspace = make_workspace(tmp_path / "d", events)
    write_candidates(workspace, [CUT], "active")
    users = set(read(workspace, CUT, ["user_id"])["user_id"].to_pylist())
    past, after = {e[0] for e in events if e[2] < 30}, {e[0] for e in events if e[2] >= 30 and e[3] == "buy"}
    assert users == past & after
    assert not users & {"late", "past", "watcher"}


def test_labels_beyond_the_window_make_nobody_active(make_workspace, random_events, tmp_path):
    workspace = make_workspace(
        tmp_path / "d", [*random_events(5), ("slow", "i5", 1.0, "buy"), ("slow", "i6", 49.5, "buy")]
    )
    cut = workspace.periods.train[0].start
    assert workspace.periods.validation.start < START + timedelta(days=49)
    write_candidates(workspace, [cut], "active")
    assert "slow" not in read(workspace, cut, ["user_id"])["user_id"].to_pylist()


def test_some_users_are_drawn_at_cuts_to_learn_from_and_nobody_is_left_out_at_the_test_cut(
    make_workspace, random_events, tmp_path
):
    def users_of(workspace: Workspace, cut: datetime) -> list[str]:
        write_candidates(workspace, [cut], "active")
        return pc.unique(read(workspace, cut, ["user_id"])["user_id"]).to_pylist()

    everyone, few = (make_workspace(tmp_path / name, random_events(5)) for name in ("everyone", "few"))
    candidates = few.config.candidates.model_copy(update={"users_per_cut": 4})
    few = replace(few, config=few.config.model_copy(update={"candidates": candidates}))
    for cut in (few.periods.train[0].start, few.periods.validation.start):
        drawn, asked = users_of(few, cut), users_of(everyone, cut)
        assert len(drawn) == 4 < len(asked)
        assert set(drawn) < set(asked)
        assert users_of(few, cut) == drawn
    assert users_of(few, few.periods.test.start) == users_of(everyone, few.periods.test.start)


@pytest.mark.parametrize(
    ("days", "error"), [(-1.0, DataError), (0.0, DataError), (400.0, FutureError)], ids=["before", "first", "future"]
)
def test_a_cut_outside_the_log_is_an_error_and_writes_nothing(make_workspace, random_events, tmp_path, days, error):
    workspace = make_workspace(tmp_path / "d", random_events())
    with pytest.raises(error):
        write_candidates(workspace, [START + timedelta(days=days)], "all")
    assert cuts(workspace) == []


def test_a_source_that_fails_leaves_the_old_rows(make_workspace, random_events, tmp_path, monkeypatch):
    workspace = make_workspace(tmp_path / "d", random_events())
    write_candidates(workspace, [CUT], "all")
    old = content(workspace)
    monkeypatch.setattr("candidate_gen.als.ALS.score_batch", lambda self, users: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_candidates(workspace, [CUT], "all", allow_repeats=True)
    assert content(workspace) == old
    assert not [path for path in tmp_path.rglob("*.tmp")]


def test_a_source_of_ones_own_is_found_by_its_class_path(make_workspace, random_events, tmp_path, monkeypatch):
    (tmp_path / "ours.py").write_text(
        "import numpy as np\n"
        "from candidate_gen.source import CandidateSource\n"
        "class ById(CandidateSource):\n"
        "    def __init__(self, sign=1.0): self.sign = sign\n"
        "    def _fit(self, interactions): self.width = interactions.shape[1]\n"
        "    def score_batch(self, users):\n"
        "        row = np.arange(self.width, dtype=np.float32) * self.sign\n"
        "        return np.broadcast_to(row, (len(users), self.width))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    sources = {"ours": {"class": "ours.ById", "depth": 2, "params": {"sign": -1.0}}}
    workspace = make_workspace(tmp_path / "d", random_events(), sources=sources)
    write_candidates(workspace, [CUT], pa.array(["nobody"]))
    assert read(workspace, CUT, ["item_id"])["item_id"].to_pylist() == ["i10", "i11"]


def test_missing_rows_name_the_command(make_workspace, random_events, tmp_path):
    workspace = make_workspace(tmp_path / "d", random_events())
    with pytest.raises(MissingError, match=r"rankhouse candidates --as-of 2024-01-31T00:00:00\+00:00"):
        read(workspace, CUT)


def test_a_wrong_configuration_is_told_before_anything_is_fitted(make_workspace, random_events, tmp_path):
    sources = {"popular": {"class": "candidate_gen.popularity.RecentPopularity", "params": {"half_live_days": 3}}}
    workspace = make_workspace(tmp_path / "d", random_events(), sources=sources)
    with pytest.raises(ConfigError, match='Did you mean "half_life_days"'):
        write_candidates(workspace, [CUT], "all")


def test_a_source_too_large_for_the_log_is_left_out_with_a_reason(make_workspace, random_events, tmp_path):
    ease = {"class": "candidate_gen.ease.EASE", "params": {"max_items": 3}}
    popular = {"class": "candidate_gen.popularity.Popularity"}
    workspace = make_workspace(tmp_path / "d", random_events(), sources={"ease": ease, "popular": popular})
    [report] = write_candidates(workspace, [CUT], "all")
    assert "ease" not in report.fit_seconds
    assert "max_items" in report.skipped["ease"]
    table = read(workspace, CUT)
    assert set(table["ease_rank"].to_pylist()) == {NO_RANK}
    assert not any(table["ease_proposed"].to_pylist())
    assert table["ease_score"].null_count == table["ease_percentile"].null_count == table.num_rows
    alone = make_workspace(tmp_path / "e", random_events(), sources={"ease": ease})
    with pytest.raises(ConfigError, match="Add a source"):
        write_candidates(alone, [CUT], "all")


def test_training_cuts_hold_pairs_that_nobody_proposed(make_workspace, random_events, tmp_path):
    events = random_events(users=30, items=40, events=900)
    workspace = make_workspace(tmp_path / "d", events, extra_pairs=3)
    plain = make_workspace(tmp_path / "e", events)
    train, test = workspace.periods.train[0].start, workspace.periods.test.start
    for one in (workspace, plain):
        write_candidates(one, [train, test], "all")
    assert content(workspace, test) == content(plain, test)
    with_extra, union = read(workspace, train), read(plain, train)
    assert with_extra.filter(with_extra["sources_count"].is_valid()).equals(union)
    extra = with_extra.filter(with_extra["sources_count"].is_null())
    known = ("user_id", "item_id", "event_timestamp", "created_timestamp", "cut")
    assert {name for name in extra.column_names if extra[name].null_count < extra.num_rows} == set(known)
    rows = [(row["user_id"], row["item_id"]) for row in with_extra.select(["user_id", "item_id"]).to_pylist()]
    assert rows == sorted(set(rows))
    counts = Counter(extra["user_id"].to_pylist())
    assert set(counts.values()) == {3}
    assert set(counts) == set(union["user_id"].to_pylist())
    days = (train - START) / timedelta(days=1)
    consumed = {(user, item) for user, item, day, kind in events if day < days and kind in ("buy", "skip")}
    assert not consumed & set(rows)
    few = pa.array(["u9", "u20"])
    write_candidates(workspace, [train], few)
    expected = with_extra.filter(pa.compute.is_in(with_extra["user_id"], few))
    assert read(workspace, train).equals(expected.combine_chunks())


def test_a_rank_outside_the_list_is_larger_than_any_rank(make_workspace, random_events, tmp_path):
    workspace = make_workspace(tmp_path / "d", random_events())
    write_candidates(workspace, [CUT], "all")
    table = read(workspace, CUT).to_pylist()
    for name in NAMES:
        inside = [row[f"{name}_rank"] for row in table if row[f"{name}_proposed"]]
        outside = {row[f"{name}_rank"] for row in table if not row[f"{name}_proposed"]}
        assert outside == {NO_RANK}
        assert max(inside) <= workspace.config.candidates.sources[name].depth < NO_RANK
    assert int(np.float32(NO_RANK)) == NO_RANK


def test_training_and_serving_take_one_path(make_workspace, random_events, tmp_path):
    """The users of a training set get the rows that they would be served: depths, filters, lists, what was learned."""
    workspace = make_workspace(tmp_path / "d", random_events(7, users=30, events=600))
    cut = workspace.periods.train[0].start
    views = (*VIEWS, "user_vectors", "user_history")
    found = []
    for users in ("active", "all"):
        write_candidates(workspace, [cut], users)
        found.append({view: read_partition(workspace, view, cut, None, command="") for view in views})
    trained, served = found
    users = pa.compute.unique(trained["candidates"]["user_id"])
    assert 5 < len(users) < len(pa.compute.unique(served["candidates"]["user_id"]))
    for view in views:
        own = served[view].filter(pa.compute.is_in(served[view]["user_id"], users))
        assert trained[view].equals(own.combine_chunks())


def test_the_clock_time_of_fitting_is_part_of_the_whole_though_sources_overlap(
    make_workspace, random_events, tmp_path, monkeypatch
):
    def slow(source, interactions, allow_repeats):
        sleep(0.05)
        return _fit(source, interactions, allow_repeats)[0], 60.0

    monkeypatch.setattr(pipeline, "_fit", slow)
    [report] = write_candidates(make_workspace(tmp_path / "d", random_events()), [CUT], "all")
    assert sum(report.fit_seconds.values()) == 180
    assert 0.05 <= report.fitting <= report.seconds < 60
