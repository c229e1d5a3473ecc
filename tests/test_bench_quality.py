"""`scripts/bench quality` without the peers' environment: the hand-over, the scoring of lists, what is printed."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from candidate_gen.configured import configured_sources
from candidate_gen.interactions import read_interactions
from candidate_gen.pipeline import Stage
from feature_repo.config import Cut, SpacedCuts, load_config
from feature_repo.errors import ConfigError, DataError
from feature_repo.loading import LoadOptions, load_source
from feature_repo.workspace import Workspace
from ranking import looks
from ranking.training_set import read_features, with_cut
from ranking.truth import read_judged

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts" / "benchmarks"))

import quality
import quality_chain
import quality_folds
import quality_handover
import quality_peer_models
import quality_report
import quality_runs
import quality_sample
import quality_scores

START = datetime(2024, 1, 1, tzinfo=UTC)
USERS, ITEMS, EVENTS = 30, 12, 600


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a mapping: 600 events of two types, ids whose order differs from their first appearance."""
    folder = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(5)
    events = pa.table(
        {
            "user_id": pa.array([f"u{code:02}" for code in rng.integers(0, USERS, EVENTS)]),
            "item_id": pa.array(100 - rng.integers(0, ITEMS, EVENTS)),
            "event_timestamp": pa.array(
                [START + timedelta(hours=int(hour)) for hour in np.sort(rng.integers(0, 2400, EVENTS))],
                pa.timestamp("us", tz="UTC"),
            ),
            "event_type": pa.array(rng.choice(["buy", "skip"], EVENTS, p=[0.8, 0.2])),
        }
    )
    pq.write_table(events, folder / "events.parquet")
    items = pa.table({"item_id": pa.array(range(80, 101), pa.int64()), "colour": ["red", "blue", None] * 7})
    pq.write_table(items, folder / "items.parquet")
    (folder / "mapping.yaml").write_text(
        """
name: shop
events:
  files: events.parquet
  columns: {event_type: event_type}
  types: {buy: {weight: 2.0, from: buy}, skip: {weight: 0, consuming: true, from: skip}}
items: {files: items.parquet, attributes: {colour: category}}
""",
        encoding="utf-8",
    )
    return folder


@pytest.fixture
def workspace(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return _loaded(source, tmp_path / "data", monkeypatch)


def _loaded(source: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("RANKHOUSE_DATA_DIR", str(data_dir))
    monkeypatch.delenv("RANKHOUSE_CONFIG", raising=False)
    workspace = Workspace.open(data_dir)
    load_source(str(source), workspace.lake, LoadOptions(config=workspace.config))
    return workspace


def _lists(rows: list[tuple[str, int, int]]) -> pa.Table:
    users, items, ranks = zip(*rows, strict=True)
    return pa.table({"user_id": users, "item_id": items, "rank": pa.array(ranks, pa.int32())})


def _truth(workspace: Workspace):
    with workspace.connect() as connection:
        return read_judged(connection, workspace.periods.test, allow_repeats=False)


class TestHandover:
    def test_the_test_cut_tells_nothing_of_its_window(self, workspace: Workspace, tmp_path: Path) -> None:
        truth = quality_handover.hand_over(workspace, tmp_path)
        log = pq.read_table(tmp_path / "test" / "log.parquet")
        assert max(log["event_timestamp"].to_pylist()) < workspace.periods.test.start
        assert not (tmp_path / "test" / "relevant.parquet").exists()
        judged = pq.read_table(tmp_path / "test" / "judged.parquet")
        assert judged["user_id"].to_pylist() == truth.users.to_pylist()

    def test_validation_labels_end_where_the_test_window_begins(self, workspace: Workspace, tmp_path: Path) -> None:
        quality_handover.hand_over(workspace, tmp_path)
        log = pq.read_table(tmp_path / "validation" / "log.parquet")
        assert max(log["event_timestamp"].to_pylist()) < workspace.periods.validation.start
        relevant = pq.read_table(tmp_path / "validation" / "relevant.parquet").to_pylist()
        window = workspace.periods.validation
        with workspace.connect() as connection:
            rows = connection.execute(
                "SELECT user_id, item_id FROM events WHERE target_weight > 0 "
                "AND event_timestamp >= ? AND event_timestamp < ?",
                [window.start, window.end],
            ).fetchall()
        assert relevant
        assert {(row["user_id"], row["item_id"]) for row in relevant} <= set(rows)

    def test_items_are_those_with_an_event_and_carry_their_attributes(
        self, workspace: Workspace, tmp_path: Path
    ) -> None:
        quality_handover.hand_over(workspace, tmp_path)
        log = pq.read_table(tmp_path / "test" / "log.parquet")
        items = pq.read_table(tmp_path / "test" / "items.parquet")
        assert items["item_id"].to_pylist() == sorted(set(log["item_id"].to_pylist()))
        assert "colour" in items.column_names


class TestPeerLists:
    @pytest.fixture
    def log(self, workspace: Workspace, tmp_path: Path) -> quality_peer_models.Log:
        quality_handover.hand_over(workspace, tmp_path)
        return quality_peer_models.Log.read(tmp_path / "test", likes="targets")

    def test_hold_nothing_seen_and_follow_the_scores(self, log: quality_peer_models.Log) -> None:
        users = np.array([0, 3, -1])
        scores = np.random.default_rng(1).random((3, log.shape[1]))
        lists = quality_peer_models.lists(log, users, scores, 5)
        for row, user in enumerate(users):
            seen = set(log.item[(log.user == user) & log.seen]) if user >= 0 else set()
            expected = [item for item in np.argsort(-scores[row], kind="stable") if item not in seen][:5]
            assert [item for item in lists[row] if item >= 0] == expected

    def test_are_filled_up_by_popularity(self, log: quality_peer_models.Log) -> None:
        scores = np.full((1, log.shape[1]), -np.inf)
        scores[0, 4] = 0.5
        popularity = log.popularity()
        order = sorted(range(log.shape[1]), key=lambda item: (-popularity[item], item))
        expected = [4, *(item for item in order if item != 4)][:6]
        assert quality_peer_models.lists(log, np.array([-1]), scores, 6)[0].tolist() == expected

    def test_recent_popularity_counts_users_once(self, log: quality_peer_models.Log) -> None:
        recent = log.liked & (log.time >= log.time[-1] - 20 * quality_peer_models.DAY)
        pairs = {(int(user), int(item)) for user, item in zip(log.user[recent], log.item[recent], strict=True)}
        expected = np.bincount([item for _, item in pairs], minlength=log.shape[1])
        assert log.popularity(20).tolist() == expected.tolist()


class TestFolds:
    def test_many_judged_users_need_one_window(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(quality_folds, "ENOUGH_USERS", 5)
        [fold] = quality_folds.choose_folds(workspace)
        assert fold.window == workspace.periods.test

    def test_few_are_pooled_over_windows_that_lie_end_to_end(self, workspace: Workspace, tmp_path: Path) -> None:
        folds = quality_folds.choose_folds(workspace)
        assert len(folds) == len(quality_folds.ROLLING) >= 5
        ends = [fold.window.end for fold in folds]
        assert [fold.window.start for fold in folds[1:]] == ends[:-1]
        assert folds[-1].window == workspace.periods.test
        for fold in folds:
            path = tmp_path / f"{fold.name}.yaml"
            quality_folds.write_config(fold.config, path)
            opened = Workspace.open(workspace.data_dir, path)
            assert opened.config == fold.config
            assert opened.periods.test == fold.window
            assert len(opened.periods.train) == len(workspace.periods.train)
            assert max(opened.periods.cuts) == fold.window.start

    def test_cuts_every_so_many_days_roll_along(self, workspace: Workspace) -> None:
        split = workspace.config.split.model_copy(update={"train": SpacedCuts(every_days=2, count=2)})
        spaced = Workspace(workspace.data_dir, workspace.config.model_copy(update={"split": split}))
        for fold in quality_folds.choose_folds(spaced):
            periods = Workspace(workspace.data_dir, fold.config).periods
            gaps = {periods.validation.start - window.start for window in periods.train}
            assert gaps <= {timedelta(days=2), timedelta(days=4)}

    def test_seeds_move_both_stages(self, workspace: Workspace) -> None:
        fold = quality_folds.choose_folds(workspace, pool=False)[0]
        moved = fold.with_seed(3)
        assert moved.ranker.seed == fold.config.ranker.seed + 3
        assert moved.candidates.seed == fold.config.candidates.seed + 3

    def test_cuts_that_are_asked_for_lie_evenly(self) -> None:
        asked = quality_folds.with_cuts(load_config(), 9)
        quantiles = [cut.quantile for cut in asked.split.train]
        assert (quantiles[0], quantiles[-1]) == quality_folds.SPACED
        assert np.diff(quantiles) == pytest.approx(np.full(8, 0.04375), abs=1e-4)
        assert asked.model_copy(update={"split": load_config().split}) == load_config()

    def test_a_split_by_dates_cannot_roll(self, workspace: Workspace) -> None:
        split = workspace.config.split.model_copy(update={"test": Cut(date=workspace.periods.test.start)})
        dated = Workspace(workspace.data_dir, workspace.config.model_copy(update={"split": split}))
        with pytest.raises(ConfigError, match="--one-window"):
            quality_folds.choose_folds(dated)


class TestRuns:
    """The chain itself is replaced by a process that leaves what the chain leaves."""

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        asked: list[list[str]] = []

        def run_command(command: list[str], variables: dict[str, str] | None = None) -> None:
            code, *runs = command[3:]
            asked.append([Path(run).name for run in runs])
            for run in map(Path, runs):
                assert (run / "config.yaml").exists()
                account = {"code": code, "seconds": {"train": 2.0}, "peak_mb": 10.0, "cuts": 3, "rounds": 5}
                (run / "run.json").write_text(json.dumps(account), encoding="utf-8")

        monkeypatch.setattr(quality_runs, "run_command", run_command)
        return asked

    def _runs(self, workspace: Workspace, *, any_code: bool = False) -> quality_runs.Runs:
        [fold] = quality_folds.choose_folds(workspace, pool=False)
        return quality_runs.Runs(fold, workspace, print, any_code)

    def test_the_first_seed_runs_alone_and_only_what_is_missing_runs_again(
        self, workspace: Workspace, asked: list[list[str]]
    ) -> None:
        accounts = self._runs(workspace).complete(3)
        assert asked == [["0"], ["1", "2"]]
        assert [account.whole for account in accounts] == [True, False, False]
        (self._runs(workspace).folder / "1" / "run.json").unlink()
        assert len(self._runs(workspace).complete(4)) == 4
        assert asked[2:] == [["1", "3"]]

    def test_runs_of_other_code_are_used_on_request_alone(
        self, workspace: Workspace, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._runs(workspace).complete(1)
        monkeypatch.setattr(quality_runs, "code_digest", lambda: "new")
        said: list[str] = []
        [fold] = quality_folds.choose_folds(workspace, pool=False)
        quality_runs.Runs(fold, workspace, said.append, any_code=True).complete(1)
        assert asked == [["0"]]
        assert "other code" in said[-1]
        self._runs(workspace).complete(1)
        assert asked == [["0"], ["0"]]

    def test_a_run_with_features_at_the_cuts_alone_times_no_training(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [fold] = quality_folds.choose_folds(workspace, pool=False)
        asked: list[bool] = []

        def run_command(command: list[str], variables: dict[str, str] | None = None) -> None:
            at_cuts = command[2] == "--at-cuts"
            asked.append(at_cuts)
            account = {"code": command[-2], "seconds": {}, "peak_mb": 1.0, "cuts": 3, "at_cuts": at_cuts}
            (Path(command[-1]) / "run.json").write_text(json.dumps(account), encoding="utf-8")

        monkeypatch.setattr(quality_runs, "run_command", run_command)
        lean = quality_runs.Runs(fold, workspace, print, at_cuts=True)
        assert [account.whole for account in lean.complete(1)] == [False]
        assert [account.whole for account in self._runs(workspace).complete(1)] == [True]
        assert [account.whole for account in lean.complete(1)] == [True]
        assert asked == [True, False]

    def test_features_at_the_cuts_alone_are_those_of_every_midnight(self, workspace: Workspace) -> None:
        with workspace.connect() as connection:
            users = "(SELECT DISTINCT user_id FROM events)"  # the data set has no table of users
            ids = connection.sql(f"SELECT user_id, item_id FROM {users}, (SELECT item_id FROM items)")
            pairs = ids.to_arrow_table().sort_by([("user_id", "ascending"), ("item_id", "ascending")])
        found = []
        for at_cuts in (True, False):
            quality_chain.compute_features(workspace, at_cuts=at_cuts)
            rows = [with_cut(pairs, cut) for cut in workspace.periods.cuts]
            found.append([read_features(workspace, part, workspace.config.service) for part in rows])
            built = workspace.feature_path("item_popularity")
            stamps = pq.read_table(built, columns=["event_timestamp"])["event_timestamp"].unique()
            assert (len(stamps) <= len(workspace.periods.cuts)) == at_cuts
            shutil.rmtree(workspace.data_dir / "features")
        for lean, whole in zip(*found, strict=True):
            assert (len(lean), lean.num_columns > 50) == (USERS * 21, True)
            assert lean.equals(whole)

    def test_another_configuration_has_runs_of_its_own(self, workspace: Workspace) -> None:
        one = self._runs(workspace)
        more = quality_folds.Fold("test", one.fold.window, quality_folds.with_cuts(one.fold.config, 5))
        assert quality_runs.Runs(more, workspace, print).folder != one.folder

    def test_only_sources_without_a_seed_are_fitted_once(self, workspace: Workspace) -> None:
        sources = quality_chain.Sources()
        config = workspace.config.candidates
        with workspace.connect() as connection:
            early, late = (read_interactions(connection, cut) for cut in workspace.periods.cuts[-2:])
        first = sources(config)["popular"].fit(early)
        assert sources(config)["popular"].fit(early) is first
        assert sources(config)["popular"].fit(late) is not first
        again = config.model_copy(update={"seed": 9})
        assert sources(again)["als"].get_params()["seed"] == 9
        assert sources(again)["als"].fit(early) is not sources(again)["als"].fit(early)

    def test_stage_one_takes_what_stands_for_a_source(self, workspace: Workspace) -> None:
        config = workspace.config.candidates
        depths = {name: source.depth for name, source in config.sources.items()}
        with workspace.connect() as connection:
            interactions = read_interactions(connection, workspace.periods.cuts[-1])
        stage = Stage.fit(interactions, quality_chain.Sources()(config), depths, allow_repeats=False)
        plain = Stage.fit(interactions, configured_sources(config), depths, allow_repeats=False)
        assert list(stage.sources) == list(plain.sources)
        assert list(stage.skipped) == list(plain.skipped)


class TestScores:
    def test_seeds_are_averaged_per_user(self, workspace: Workspace) -> None:
        truth = _truth(workspace)
        user = truth.users[0].as_py()
        hit = truth.items[0].as_py()
        scores = quality_scores.score(truth, [_lists([(user, hit, 1)]), _lists([(user, hit, 2)])])
        assert scores.values["mrr"][0] == pytest.approx(0.75)
        assert scores.values["p@1"][0] == pytest.approx(0.5)
        assert scores.values["ndcg@10"][1:].sum() == 0
        assert len(scores.seeds) == 2

    def test_a_user_of_two_windows_counts_once(self) -> None:
        one, two = (
            quality_scores.Scores(
                pa.array(users), dict.fromkeys(quality_scores.METRICS, np.array(values)), (float(np.mean(values)),)
            )
            for users, values in ((["a", "b"], [1.0, 0.0]), (["b", "c"], [0.5, 0.3]))
        )
        pooled = quality_scores.pool([one, two])
        assert pooled.users.to_pylist() == ["a", "b", "c"]
        assert pooled.values["ndcg@10"].tolist() == [1.0, 0.25, 0.3]

    def test_better_is_only_said_when_the_interval_excludes_zero(self) -> None:
        rng = np.random.default_rng(0)
        noise, users = rng.normal(0, 0.1, 400), pa.array(range(400))
        base, same, more = (
            quality_scores.Scores(users, {"ndcg@10": values})
            for values in (noise, noise + rng.normal(0, 0.1, 400) * 0.01, noise + 0.05)
        )
        assert quality_scores.compare(more, base).verdict == "better"
        assert quality_scores.compare(base, more).verdict == "worse"
        assert quality_scores.compare(base, base).verdict == "not different"
        assert quality_scores.compare(same, base).low < quality_scores.compare(same, base).high

    def test_lists_with_seen_items_are_refused(self, workspace: Workspace) -> None:
        truth = _truth(workspace)
        with workspace.connect() as connection:
            [(user, item)] = connection.execute(
                "SELECT user_id, item_id FROM events WHERE event_timestamp < ? AND event_type = 'skip' LIMIT 1",
                [truth.window.start],
            ).fetchall()
        with pytest.raises(DataError, match="consumed"):
            quality_scores.check_lists(workspace, truth, "als", _lists([(user, item, 1)]))

    def test_lists_with_an_item_twice_are_refused(self, workspace: Workspace) -> None:
        truth = _truth(workspace)
        rows = [(truth.users[0].as_py(), truth.items[0].as_py(), rank) for rank in (1, 2)]
        with pytest.raises(DataError, match="once per user"):
            quality_scores.check_lists(workspace, truth, "als", _lists(rows))


class TestLooks:
    def _look(self, window: str, config: str) -> looks.Look:
        return looks.Look("now", "shop", "f", window, "end", config, 5, 0.2)

    def test_are_appended_and_counted_per_window(self, tmp_path: Path) -> None:
        first = looks.record(tmp_path, self._look("monday", "a"))
        assert first == looks.Count(1, 1)
        looks.record(tmp_path, self._look("tuesday", "a"))
        looks.record(tmp_path, self._look("monday", "a"))
        assert looks.record(tmp_path, self._look("monday", "b")) == looks.Count(3, 2)
        assert len(looks.read(tmp_path)) == 4

    def test_seeds_are_no_configuration_of_their_own(self, workspace: Workspace) -> None:
        fold = quality_folds.choose_folds(workspace, pool=False)[0]
        assert looks.config_digest(fold.with_seed(1)) == looks.config_digest(fold.config)
        other = load_config().model_copy(update={"allow_repeats": True})
        assert looks.config_digest(other) != looks.config_digest(fold.config)


def test_a_sample_keeps_all_events_of_its_users(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = quality_sample.write_sample(workspace, tmp_path / "sample", users=10)
    again = quality_sample.write_sample(workspace, tmp_path / "again", users=10)
    assert (folder / "events.parquet").read_bytes() == (again / "events.parquet").read_bytes()
    sample = _loaded(folder, tmp_path / "small", monkeypatch)
    assert sample.lake.manifest_roles() == workspace.lake.manifest_roles()
    assert sample.lake.manifest().item_attributes == workspace.lake.manifest().item_attributes
    counts = "SELECT user_id, count(*) FROM events GROUP BY 1"
    with workspace.connect() as whole, sample.connect() as small:
        kept = dict(small.execute(counts).fetchall())
        everyone = dict(whole.execute(counts).fetchall())
    assert len(kept) == 10
    assert kept.items() <= everyone.items()


class TestReport:
    @pytest.fixture
    def result(self) -> quality_report.Result:
        rng = np.random.default_rng(2)
        users = pa.array(range(50))

        def scores(level: float) -> quality_scores.Scores:
            values = {metric: rng.random(50) * 0.1 + level for metric in quality_scores.METRICS}
            return quality_scores.Scores(users, values, (level, level + 0.01))

        peers = {name: scores(0.1) for name in ("als", "rectools catboost tutorial", "rectools catboost tuned")}
        peers["rectools catboost tutorial"] = scores(0.15)
        named = quality.best_variants(peers)
        return quality_report.Result(
            title="shop",
            ours=scores(0.3),
            sources={"popular": scores(0.2), "bm25": scores(0.25)},
            best_source="bm25",
            peers={case: peers[name] for case, name in named.items()},
            peer_names=named,
            training=[
                quality_runs.Account("test, seed 0", 0, True, "c", {"candidates": 2.0, "train": 1.0}, 300.0, 3),
                quality_runs.Account("test, seed 1", 1, False, "c", {"candidates": 9.0}, 900.0, 3),
            ],
            notes=["Looks: 1"],
        )

    def test_the_better_variant_stands_for_a_library(self, result: quality_report.Result) -> None:
        assert result.peer_names == {"als": "als", "rectools catboost": "rectools catboost tutorial"}

    def test_rows_name_every_case_and_metric_once(self, result: quality_report.Result) -> None:
        found = [row.as_json() for row in quality_report.rows(result)]
        keys = [(row["case"], row["metric"]) for row in found]
        assert len(set(keys)) == len(keys)
        for case in ("two-stage", "best single", "als", "rectools catboost"):
            assert {(case, metric) for metric in ("ndcg@10", "map@10", "recall@10", "mrr", "hitrate")} <= set(keys)
        [single] = [row for row in found if (row["case"], row["metric"]) == ("best single", "ndcg@10")]
        assert single["peer_name"] == "bm25"
        assert single["ratio"] == pytest.approx(single["ours"] / single["peer"])
        taken = {row["metric"]: row["ours"] for row in found if row["case"] == "training"}
        assert taken == {"time": 3.0, "memory": 300.0, "cuts": 3}
        for metric in quality_scores.METRICS:
            assert {("best single", f"{metric} difference"), ("best single by that metric", metric)} <= set(keys)
        assert [row["ours"] for row in found if row["metric"].startswith("ndcg@10, seed")] == [0.3, 0.31]
        json.dumps(found, allow_nan=False)

    def test_the_table_says_which_source_and_how_sure(
        self, result: quality_report.Result, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from rich.console import Console

        quality_report.show(result, Console(width=200))
        printed = capsys.readouterr().out
        for text in ("best single: bm25", "better", "by metric", "test, seed 0: 3 s, 300 MB", "Looks: 1"):
            assert text in printed
