"""`scripts/bench features`: computing feature views, a day more of them, and features of pairs on demand.

Views are built over the daily snapshots of MovieLens-1M (`--ml-1m DIRECTORY`; `--quick` takes a small synthetic world),
in process, imports excluded. `--big [EVENTS]` builds the user, item and user-list views of a synthetic log over 90
daily snapshots in a process of its own, beside a straightforward pandas version of a part of them on a tenth of the
events. Pairs are scored by the functions of feature_repo.on_demand on one core, from lists that rows share.
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
from datetime import datetime, timedelta
from pathlib import Path

from features_data import make_lake, scaled
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
    parser.add_argument("--only", choices=("views", "pairs", "big"), help="leave out the other cases")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        return build_large(options.build)
    rows: list[Row] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        if options.only != "big":
            rows += views_and_pairs(Path(folder), options, notes)
        if options.only in (None, "big") and (options.big or options.quick):
            rows += large_log(options.big or 300_000, Path(folder), notes)
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


def large_log(events: int, folder: Path, notes: list[str]) -> list[Row]:
    """Build the views of the large log in a process of its own, and a tenth of it by pandas."""
    size = scaled(events)
    directory = data_dir() / "bench" / "features" / f"sessions-{events}"
    make_lake(directory, size)
    done = subprocess.run([sys.executable, __file__, "--build", str(directory)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit("building the large log failed")
    ours = json.loads(done.stdout.splitlines()[-1])
    small = scaled(events // 10)
    tenth = directory.with_name(f"sessions-{events // 10}")
    make_lake(tenth, small)
    peer = pandas_seconds(tenth, folder)
    case = f"{events:,} events, {size.users:,} users, {size.items:,} items, {size.days} days"
    notes.append(
        "pandas: counts, targets, values and times by user, item and user x category, on a tenth of the events."
    )
    rates = ours["seconds"] and events / ours["seconds"], small.events / peer
    rows = [
        Row(case, "time", "s", ours["seconds"]),
        Row(case, "rate", "events/s", rates[0], rates[1], "pandas, a tenth", better="higher"),
        Row(case, "memory", "MB", ours["megabytes"]),
        Row(case, "spilled", "MB", ours["spilled"]),
        Row(case, "written", "MB", ours["written"]),
    ]
    return rows + [Row(case, f"time of {name}", "s", seconds) for name, seconds in ours["views"].items()]


def build_large(directory: Path) -> None:
    """Build the views of a large log; print what it took as JSON."""
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
    views = {}
    for name in LARGE_VIEWS:
        views[name], cpu = timed(lambda view=name: build_features(workspace, [view]))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name}: {views[name]:.1f} s, processor {cpu:.1f} s, peak {peak:.0f} MB", file=sys.stderr, flush=True)
    written = sum(path.stat().st_size for path in (directory / "features").rglob("*.parquet"))
    result = {
        "seconds": sum(views.values()),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "spilled": spill.most() / 1e6,
        "written": written / 1e6,
        "views": views,
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
            for path in self._folder.glob("*"):
                try:
                    held += path.stat().st_size
                except FileNotFoundError:  # DuckDB removes its files while they are counted
                    continue
            self._most = max(self._most, held)


def pandas_seconds(directory: Path, folder: Path) -> float:
    import features_pandas

    workspace = Workspace.open(directory)
    with workspace.connect() as connection:
        events = connection.sql("SELECT * EXCLUDE (target_weight, consuming, origin) FROM events").to_arrow_table()
        items = connection.sql("FROM items").to_arrow_table().to_pandas()
        [(first, last)] = connection.sql("SELECT min(event_timestamp), max(event_timestamp) FROM events").fetchall()
    import pandas as pd

    midnights = list(pd.date_range(first, last, freq="D", normalize=True)[1:])
    target = folder / "pandas"
    target.mkdir()
    return timed(lambda: features_pandas.build(events.to_pandas(), items, midnights, target))[0]


if __name__ == "__main__":
    main()
