"""`scripts/bench features`: computing feature views, a day more of them, and features of pairs on demand.

Views are built over the daily snapshots of MovieLens-1M (`--ml-1m DIRECTORY`; `--quick` takes a small synthetic world),
in process, imports excluded. `--big [EVENTS]` builds the user, item and user-list views of a synthetic log over 90
daily snapshots in a process of its own; three of them, one of each kind, are built of a tenth of the events beside a
straightforward pandas version of their columns, which is timed at a few snapshots (`--pandas-snapshots`) and taken
times as many as there are; `--only pandas` measures just that, on ten million events unless --big says otherwise.
Pairs are scored by the functions of feature_repo.on_demand on one core, from lists that rows share.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import features_pandas
import pandas as pd
from features_data import Size, make_lake, scaled
from features_pairs import pairs
from report import Row, show, timed, write_json

from feature_repo.building.run import build_features
from feature_repo.config import EngineConfig
from feature_repo.data_dir import data_dir
from feature_repo.data_set import DataSet
from feature_repo.discovery import discover
from feature_repo.lake import Lake
from feature_repo.loading import LoadOptions, World, load_source
from feature_repo.workspace import Workspace

ROOT = Path(__file__).parents[2]
ML_1M = ROOT.parent / "shared" / "data" / "ml-1m-positives"
LARGE_VIEWS = (
    "user_activity", "user_habits", "item_popularity", "item_engagement", "item_encoding", "item_audience",
    "user_category_affinity", "user_segments",
)  # fmt: skip
MEMORY = "5GB"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench features", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same cases, small enough for two minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--ml-1m", type=Path, default=ML_1M, metavar="DIRECTORY", help="MovieLens-1M, as it is shipped")
    parser.add_argument("--big", type=int, nargs="?", const=100_000_000, metavar="EVENTS", help="default 100,000,000")
    parser.add_argument("--only", choices=("views", "pairs", "big", "pandas"), help="leave out the other cases")
    parser.add_argument("--without-pandas", action="store_true", help="of the large log measure ours alone")
    parser.add_argument("--pandas-snapshots", type=int, default=9, metavar="COUNT", help="default 9, evenly spaced")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--views", nargs="+", default=LARGE_VIEWS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        return build_large(options.build, options.views)
    rows: list[Row] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        if options.only not in ("big", "pandas"):
            rows += views_and_pairs(Path(folder), options, notes)
        if options.only in (None, "big") and (options.big or options.quick):
            rows += large_log(options, Path(folder), notes)
        if options.only == "pandas":
            rows += beside_pandas(tenth(options), Path(folder), options.pandas_snapshots, notes)
    show("Feature views (smaller is better, except events/s; ratio above 1: ours is better)", rows, notes)
    if options.json:
        write_json(rows, options.json)


def views_and_pairs(folder: Path, options: argparse.Namespace, notes: list[str]) -> list[Row]:
    source = "synthetic" if options.quick else str(options.ml_1m)
    if not options.quick and not options.ml_1m.exists():
        raise SystemExit(f"There is no MovieLens-1M in {options.ml_1m}: name it with --ml-1m, or run with --quick.")
    load_source(source, Lake(folder), LoadOptions(world=World(users=300, items=200, days=90)))
    whole = Workspace.open(folder)
    discover(DataSet.of(whole))  # imports Feast
    if options.quick:
        notes.append("Quick: a synthetic world stands for MovieLens-1M.")
    rows = views(whole, notes) if options.only != "pairs" else []
    if options.only != "views":
        build_features(whole)
        rows += pairs(whole, 100_000 if options.quick else 1_000_000)
    return rows


def views(whole: Workspace, notes: list[str]) -> list[Row]:
    """Measure a backfill up to three days before the log's end and one day more, with cuts that stay and that move."""
    last = whole.now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
    rows = []
    for name, fixed in (("cuts are dates", True), ("cuts are quantiles", False)):
        shutil.rmtree(whole.data_dir / "features", ignore_errors=True)
        for case, moment in (("backfill", last), ("one more day", last + timedelta(days=1))):
            workspace = at(whole, moment, last, fixed)
            seconds, cpu = timed(lambda now=workspace: build_features(now))
            rows.append(Row(f"ml-1m {case}, {name}", "time", "s", seconds))
            rows.append(Row(f"ml-1m {case}, {name}", "processor time", "s", cpu))
    computed = discover(DataSet.of(whole)).computed
    [(events,)] = workspace.connect().execute("SELECT count(*) FROM events").fetchall()
    days = (last - whole.lake.time_range()[0]).days
    notes.append(f"Backfill: {len(computed)} views of {events:,} events at {days} days.")
    return rows


def at(workspace: Workspace, now: datetime, cuts_at: datetime, fixed: bool) -> Workspace:
    """The workspace as it was at a time; with `fixed`, cuts lie where they lay at `cuts_at`."""
    changed = {"now": now}
    if fixed:
        then = Workspace(workspace.data_dir, workspace.config.model_copy(update={"now": cuts_at})).periods
        changed["split"] = workspace.config.split.model_validate(
            {
                "train": [{"date": window.start} for window in then.train],
                "validation": {"date": then.validation.start},
                "test": {"date": then.test.start},
            }
        )
    return Workspace(workspace.data_dir, workspace.config.model_copy(update=changed))


def large_log(options: argparse.Namespace, folder: Path, notes: list[str]) -> list[Row]:
    """Build the views of the large log in a process of its own, and a part of them by pandas on a tenth of it."""
    size = scaled(options.big or 300_000)
    ours = built(size, LARGE_VIEWS)
    case = f"{size.events:,} events, {size.users:,} users, {size.items:,} items, {size.days} days"
    rows = [
        Row(case, "time", "s", ours["seconds"]),
        Row(case, "processor time", "s", ours["processor"]),
        Row(case, "rate", "events/s", size.events / ours["seconds"], better="higher"),
        Row(case, "memory", "MB", ours["megabytes"]),
        Row(case, "spilled", "MB", ours["spilled"]),
        Row(case, "written", "MB", ours["written"]),
    ]
    if options.without_pandas:
        return rows
    return rows + beside_pandas(tenth(options), folder, options.pandas_snapshots, notes)


def tenth(options: argparse.Namespace) -> Size:
    """The log that is small enough for pandas."""
    return scaled((options.big or (300_000 if options.quick else 100_000_000)) // 10)


def beside_pandas(size: Size, folder: Path, count: int, notes: list[str]) -> list[Row]:
    """Build a user, an item and a list view of a log, and the same columns at some of its snapshots by pandas."""
    peer, measured, snapshots = pandas_seconds(size, folder, count)
    wall, processor = (seconds * snapshots / measured for seconds in peer)
    notes.append(
        f"A tenth: all columns of {', '.join(features_pandas.VIEWS)}; pandas was timed at {measured} of {snapshots} "
        f"snapshots, its time taken {snapshots / measured:.1f} times."
    )
    ours = built(size, features_pandas.VIEWS)
    case, rates = f"{size.events:,} events, 3 views", (size.events / ours["seconds"], size.events / wall)
    return [
        Row(case, "rate", "events/s", *rates, "pandas", better="higher"),
        Row(case, "processor time", "s", ours["processor"], processor, "pandas"),
        Row(case, "memory", "MB", ours["megabytes"]),
    ]


def built(size: Size, views: Sequence[str]) -> dict[str, float]:
    """Build views of a log in a process of its own; return what it took."""
    directory = data_dir() / "bench" / "features" / f"sessions-{size.events}"
    make_lake(directory, size)
    command = [sys.executable, __file__, "--build", str(directory), "--views", *views]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit("building the large log failed")
    return json.loads(done.stdout.splitlines()[-1])


def build_large(directory: Path, views: Sequence[str]) -> None:
    """Build views of a large log; print what it took as JSON."""
    opened = Workspace.open(directory)
    split = {"train": [{"quantile": 0.5}], "validation": {"quantile": 0.8}, "test": {"quantile": 0.9}}
    config = opened.config.model_copy(
        update={
            "split": opened.config.split.model_validate(split),
            "engine": EngineConfig(memory_limit=MEMORY, threads=os.cpu_count()),
        }
    )
    workspace = Workspace(directory, config)
    shutil.rmtree(directory / "features", ignore_errors=True)
    discover(DataSet.of(workspace))  # imports Feast
    spill = Spill(directory / "spill")
    begin = time.perf_counter()

    def report(view: str, done: int, views: int) -> None:
        passed, peak = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{passed:7.1f} s, peak {peak:.0f} MB: {done} of {views} done, {view}", file=sys.stderr, flush=True)

    seconds, processor = timed(lambda: build_features(workspace, views, progress=report))
    result = {
        "seconds": seconds,
        "processor": processor,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "spilled": spill.most() / 1e6,
        "written": sum(path.stat().st_size for path in (directory / "features").rglob("*.parquet")) / 1e6,
    }
    print(json.dumps(result))


class Spill:
    """Watches how much a folder holds, from a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._most, self._done = folder, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def most(self) -> int:
        """Stop watching; return the most bytes that were there."""
        self._done.set()
        self._thread.join()
        return self._most

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            held = 0
            for path in self._folder.rglob("*"):
                try:
                    held += path.stat().st_size
                except FileNotFoundError:  # files are removed while they are counted
                    continue
            self._most = max(self._most, held)


def pandas_seconds(size: Size, folder: Path, count: int) -> tuple[tuple[float, float], int, int]:
    """Return the wall and processor time of some snapshots by pandas, how many they are, and how many there are."""
    directory = data_dir() / "bench" / "features" / f"sessions-{size.events}"
    make_lake(directory, size)
    with Workspace.open(directory).connect() as connection:
        read = connection.sql("SELECT * EXCLUDE (origin) FROM events ORDER BY event_timestamp").to_arrow_table()
        items = connection.sql("FROM items").to_arrow_table().to_pandas()
    events = read.to_pandas()
    midnights = pd.date_range(events["event_timestamp"].min(), events["event_timestamp"].max(), normalize=True)[1:]
    step = max(1, len(midnights) // count)
    chosen = midnights[step // 2 :: step]
    target = folder / "pandas"
    target.mkdir()
    return timed(lambda: features_pandas.build(events, items, chosen, target)), len(chosen), len(midnights)


if __name__ == "__main__":
    main()
