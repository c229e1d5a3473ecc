"""`scripts/bench candidates [--quick] [--json FILE] [--data DIR] [--big] [--part PART ...]`: stage one measured.

Parts, all but `big` by default. `peers`: sources with a counterpart in RecTools beside it, on the same log, users and
parameters of the test window. `configured`: each configured source there, and their union, its depths scaled to the
budget. `all`: writes the entity table of the clock for every user on one core. `big`: the same for 100,000 users,
50,000 items and 10M events on two cores, without EASE.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter, process_time

import pyarrow as pa
import pyarrow.parquet as pq
from quality_environment import peers_python
from report import Row, median, show, write_json

from candidate_gen.als import ALS
from candidate_gen.ease import EASE
from candidate_gen.entity_table import CutReport, fit_stage, write_candidates
from candidate_gen.interactions import Interactions, read_interactions
from candidate_gen.item_knn import BM25ItemKNN, CosineItemKNN, TFIDFItemKNN
from candidate_gen.pipeline import Stage
from candidate_gen.popularity import Popularity, RecentPopularity
from candidate_gen.relevant import Relevant, read_relevant
from candidate_gen.report import SourceReport, UnionReport, judge
from candidate_gen.source import CandidateSource
from feature_repo.config import load_config
from feature_repo.lake import Lake
from feature_repo.loading import LoadOptions, World, load_source
from feature_repo.workspace import Workspace
from ranking.metrics import ndcg, recall
from ranking.truth import Truth, read_judged

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT.parent / "shared" / "data"
DEPTH = 100
BUDGETS = (220, 460)
SEEDS = (0, 1, 2, 3, 4)
PARTS = ("peers", "configured", "all", "big")
BIG = World(users=100_000, items=50_000, days=160)


def references() -> dict[str, CandidateSource]:
    """Return our sources with the peers' parameters, by the name of the case."""
    return {
        "popular": Popularity(),
        "recent popularity": RecentPopularity(half_life_days=3.0),
        **{f"als seed {seed}": ALS(factors=8, regularization=50.0, seed=seed) for seed in SEEDS},
        "bm25 knn": BM25ItemKNN(neighbours=1000, k1=0.5, b=0.2),
        "tfidf knn": TFIDFItemKNN(neighbours=1000),
        "cosine knn": CosineItemKNN(neighbours=1000),
        "ease": EASE(regularization=16000.0),
    }


@dataclass(frozen=True)
class Figures:
    """One ranking of the judged users: means over them, and the seconds to fit and to propose 100 items to each."""

    ndcg: float
    recall: float
    seconds: float


def figures(lists: pa.Table, truth: Truth, seconds: float) -> Figures:
    hits = truth.hits(lists, DEPTH)
    return Figures(float(ndcg(hits, truth.relevant).mean()), float(recall(hits, truth.relevant, DEPTH).mean()), seconds)


def run_ours(log: Interactions, truth: Truth) -> dict[str, Figures]:
    results = {}
    for name, source in references().items():
        start = perf_counter()
        lists = source.fit(log).recommend(truth.users, DEPTH)
        results[name] = figures(lists, truth, perf_counter() - start)
    return results


def run_peers(workspace: Workspace, truth: Truth, folder: Path) -> dict[str, Figures]:
    """Run RecTools in its own environment on the same label events and users."""
    with workspace.connect() as connection:
        events = connection.sql(
            "SELECT user_id, item_id, event_timestamp FROM events WHERE event_timestamp < ? AND target_weight > 0 "
            "ORDER BY event_timestamp, user_id, item_id",
            params=[truth.window.start],
        ).to_arrow_table()
    log, users, script = (
        folder / "log.parquet",
        folder / "users.parquet",
        Path(__file__).with_name("candidates_peers.py"),
    )
    pq.write_table(events, log)
    pq.write_table(pa.table({"user_id": truth.users}), users)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([peers_python(), script, log, users, folder], check=True, env=environment)
    times = json.loads((folder / "times.json").read_text(encoding="utf-8"))
    return {name: figures(pq.read_table(folder / f"{name}.parquet"), truth, times[name]) for name in times}


def compare(ours: Mapping[str, Figures], peers: Mapping[str, Figures]) -> list[Row]:
    rows = []
    for case in dict.fromkeys(name.split(" seed ")[0] for name in ours):
        mine, theirs = _median(ours, case), _median(peers, case)
        for metric, unit, better in (("ndcg", "", "higher"), ("recall", "", "higher"), ("seconds", "s", "lower")):
            name = {"ndcg": "ndcg@10", "recall": "recall@100", "seconds": "time"}[metric]
            peer = getattr(theirs, metric) if theirs else None
            rows.append(Row(case, name, unit, getattr(mine, metric), peer, "RecTools" if theirs else None, better))
    return rows


def _median(results: Mapping[str, Figures], case: str) -> Figures | None:
    """The figures of a case, the median over its seeds where it has several."""
    found = [value for name, value in results.items() if name.split(" seed ")[0] == case]
    if not found:
        return None
    return Figures(*(median([getattr(one, field) for one in found]) for field in ("ndcg", "recall", "seconds")))


def run_configured(workspace: Workspace) -> list[Row]:
    """Judge the configured sources one by one, and their union within the budgets."""
    window = workspace.periods.test
    with workspace.connect() as connection:
        stage = fit_stage(workspace, connection, window.start, allow_repeats=False)
        relevant = read_relevant(connection, stage.interactions, window, allow_repeats=False)
    rows = []
    for budget in BUDGETS:
        union = _largest_union(stage, relevant, budget)
        rows.append(Row(f"union <= {budget}", "recall", "", union.recall, better="higher"))
        rows.append(Row(f"union <= {budget}", "candidates", "", union.candidates))
    for name, source in judge(stage, relevant, window.end).sources.items():
        rows += _source_rows(f"configured {name}", source)
    return rows


def _largest_union(stage: Stage, relevant: Relevant, budget: int) -> UnionReport:
    """Scale the configured depths by one factor to the largest union within the budget; hits play no part."""
    small, large = 0.05, 10.0
    best = None
    for _ in range(10):
        factor = (small * large) ** 0.5
        depths = {name: max(1, round(depth * factor)) for name, depth in stage.depths.items()}
        union = judge(replace(stage, depths=depths), relevant, stage.interactions.as_of).union
        if union.candidates <= budget:
            small, best = factor, union
        else:
            large = factor
    if best is None:
        raise SystemExit(f"Even one item of each source is more than {budget} candidates a user.")
    return best


def _source_rows(case: str, source: SourceReport) -> list[Row]:
    return [
        Row(case, "ndcg@10", "", source.ndcg_10, better="higher"),
        Row(case, "recall@100", "", source.recall["100"], better="higher"),
        Row(case, "time", "s", source.fit_seconds + source.score_seconds),
        Row(case, "time to fit", "s", source.fit_seconds),
        Row(case, "time to propose and score", "s", source.score_seconds),
        Row(case, "memory kept", "MB", source.megabytes),
    ]


def run_all_sources(workspace: Workspace, case: str, cores: int) -> list[Row]:
    """Write the entity table of the clock for every user in a process bound to so many cores."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        report, processor, megabytes = pool.apply(_write_all, (workspace, cores))
    rows = [
        Row(case, "time", "s", report.seconds),
        Row(case, "processor", "s", processor),
        Row(case, "memory", "MB", megabytes),
        Row(case, "users", "", report.users),
        Row(case, "pairs", "", report.rows),
    ]
    for name, seconds in report.fit_seconds.items():
        rows.append(Row(f"{case}: {name}", "time to fit", "s", seconds))
        rows.append(Row(f"{case}: {name}", "time to propose and score", "s", report.score_seconds[name]))
    return rows


def _write_all(workspace: Workspace, cores: int) -> tuple[CutReport, float, float]:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    [report] = write_candidates(workspace, [workspace.now], "all", progress=_say)
    return report, process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _say(what: str, done: int, total: int) -> None:
    print(f"\r{what} {done:,} / {total:,}\033[K", end="", file=sys.stderr, flush=True)


def prepare(
    folder: Path, source: str, world: World, *, without: frozenset[str] = frozenset(), depth: int | None = None
) -> Workspace:
    """Load a data set; the workspace is configured as shipped, but for sources left out and a common depth."""
    lake = Lake(folder)
    if not lake.exists():
        load_source(source, lake, LoadOptions(world=world))
    config = load_config()
    sources = {
        name: one if depth is None else one.model_copy(update={"depth": depth})
        for name, one in config.candidates.sources.items()
        if name not in without
    }
    candidates = config.candidates.model_copy(update={"sources": sources})
    return Workspace(folder, config.model_copy(update={"candidates": candidates}))


def main() -> None:
    arguments = _arguments()
    data = arguments.data or DATA / ("ml-100k" if arguments.quick else "ml-1m-positives")
    parts = set(arguments.part or PARTS[:-1]) | ({"big"} if arguments.big else set())
    if parts != {"big"} and not data.exists():
        raise SystemExit(f"There is no data set at {data}: name one with --data.")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if parts & {"peers", "configured"}:
            workspace = prepare(folder / "data", str(data), World())
            rows += run_peers_beside(workspace, folder, peers=not arguments.quick) if "peers" in parts else []
            rows += run_configured(workspace) if "configured" in parts else []
        if "all" in parts:
            deep = prepare(folder / "data", str(data), World(), depth=DEPTH)
            rows += run_all_sources(deep, "all sources", cores=1)
        if "big" in parts:
            big = prepare(folder / "big", "synthetic", BIG, without=frozenset({"ease"}), depth=DEPTH)
            rows += run_all_sources(big, "100k users, 50k items, 10M events", cores=2)
    note = f"{data.name}; recall@100 and NDCG@10 are means over the judged users of the test window."
    show("candidates", rows, [note])
    if arguments.json:
        write_json(rows, arguments.json)


def run_peers_beside(workspace: Workspace, folder: Path, *, peers: bool) -> list[Row]:
    """Judge the sources that have a counterpart, and with `peers` the counterparts."""
    with workspace.connect() as connection:
        truth = read_judged(connection, workspace.periods.test, allow_repeats=False)
        log = read_interactions(connection, workspace.periods.test.start)
    theirs = run_peers(workspace, truth, folder) if peers else {}
    return [Row("judged users", "count", "", len(truth.users)), *compare(run_ours(log, truth), theirs)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench candidates", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ml-100k, no peers, two minutes")
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    parser.add_argument("--data", type=Path, help="a data set that `rankhouse load` takes (default: ml-1m-positives)")
    parser.add_argument("--part", action="append", choices=PARTS, help="run this part alone; may be given again")
    parser.add_argument("--big", action="store_true", help="the part `big`, too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
