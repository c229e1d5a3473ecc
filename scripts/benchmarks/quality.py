"""`scripts/bench quality DATASET`: two-stage against its best single source and against peers, by the truth protocol.

Everything is written below `<data dir>/bench/quality/<data set>/`; peers run in an environment of their own, and what
they recommended is used again while their input, code and requirements stay the same. So are our own runs, so that a
benchmark that was stopped goes on where it was (quality_runs.py).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from quality_environment import peers_python
from quality_folds import SPACED, Fold, choose_folds, with_cuts, write_config
from quality_handover import hand_over
from quality_report import TRAINING, Result, rows, show, show_peers, show_training, training_rows
from quality_runs import Account, Lists, Runs, run_command
from quality_sample import write_sample
from quality_scores import Scores, best, check_lists, pool, score
from report import Row, write_json
from rich.console import Console

from feature_repo.config import load_config
from feature_repo.data_dir import data_dir
from feature_repo.errors import RankhouseError
from feature_repo.loading import LoadOptions, load_source
from feature_repo.workspace import Workspace
from ranking.looks import FILE, Count, Look, config_digest, now_text, record
from ranking.truth import Truth, read_judged

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
REQUIREMENTS = HERE / "requirements-quality.txt"
QUICK_USERS, QUICK_ROUNDS = 600, 100
PEER_FILES = ("quality_peers.py", "quality_peer_models.py", "quality_peer_two_stage.py")
VARIANTS = ("tuned", "defaults", "tutorial")


@dataclass(frozen=True)
class Bench:
    """Where a run works, with what configuration, and how much of it."""

    folder: Path
    looks_dir: Path
    config: Path | None
    source: str
    quick: bool
    seeds: int
    pool: bool
    any_code: bool
    at_cuts: bool
    say: Callable[[str], None]

    @property
    def name(self) -> str:
        return Path(self.source).name + (" (quick)" if self.quick else "")

    def prepare(self) -> list[tuple[Fold, Workspace]]:
        """Load the data set and return its windows, each with a workspace of its own."""
        whole = self._load(self.source, self.folder / "whole", self.config)
        source = self.source
        if self.quick:
            source = str(write_sample(whole, self.folder / "sample", QUICK_USERS))
            ranker = whole.config.ranker.model_copy(update={"rounds": min(whole.config.ranker.rounds, QUICK_ROUNDS)})
            quick = self.folder / "quick.yaml"
            write_config(whole.config.model_copy(update={"ranker": ranker}), quick)
            whole = self._load(source, self.folder / "quick", quick)
        prepared = []
        for fold in choose_folds(whole, pool=self.pool and not self.quick):
            loaded = self._load(source, self.folder / fold.name, whole.config_path)
            path = loaded.data_dir / "config.yaml"
            write_config(fold.config, path)
            prepared.append((fold, Workspace.open(loaded.data_dir, path)))
        return prepared

    def _load(self, source: str, folder: Path, config: Path | None) -> Workspace:
        workspace = Workspace.open(folder, config)
        options = LoadOptions(config=workspace.config, on_step=self.say)
        load_source(source, workspace.lake, options)
        if len(workspace.lake.manifest().loads) > 1:
            # The files have changed since the last run: what it left must not stay in the log.
            shutil.rmtree(folder)
            load_source(source, workspace.lake, options)
        return workspace

    def runs(self, fold: Fold, workspace: Workspace) -> Runs:
        return Runs(fold, workspace, self.say, self.any_code, self.at_cuts)

    def peers(self, fold: Fold, workspace: Workspace) -> tuple[Lists, dict[str, dict[str, object]]]:
        """Return the peers' lists at the test cut and the account of their tuning."""
        handover = workspace.data_dir / "handover"
        hand_over(workspace, handover)
        out = workspace.data_dir / "peers" / _digest(handover, self.quick)
        if (out / "tuning.json").exists():
            self.say(f"{fold.name}: the peers' lists in {out} are current")
        else:
            self.say(f"{fold.name}: the peers")
            command = [str(peers_python()), str(HERE / "quality_peers.py"), str(handover), str(out)]
            run_command(command + (["--quick"] if self.quick else []), {"OMP_NUM_THREADS": "1"})
        accounts = json.loads((out / "tuning.json").read_text(encoding="utf-8"))
        return {name: [pq.read_table(path) for path in sorted(out.glob(f"{name}.*.parquet"))] for name in accounts}, (
            accounts
        )

    def look(self, fold: Fold, workspace: Workspace, scores: Scores) -> Count:
        """Note that our lists were scored on this window; return how often that has happened."""
        look = Look(
            at=now_text(datetime.now(UTC)),
            data=self.name,
            fingerprint=workspace.lake.fingerprint(),
            window_start=fold.window.start.isoformat(),
            window_end=fold.window.end.isoformat(),
            config=config_digest(fold.config),
            seeds=self.seeds,
            ndcg=scores.mean("ndcg@10"),
        )
        return record(self.looks_dir, look)


def measure(bench: Bench, only: str | None, console: Console) -> list[Row]:
    """Run, print, and return the rows of the JSON file (none for the peers alone)."""
    scores: dict[str, list[Scores]] = {}
    training: list[Account] = []
    chosen: dict[str, list[str]] = {}
    looks: list[Count] = []
    prepared = bench.prepare()
    for fold, workspace in prepared:
        workspace.export()
        truth = _truth(workspace)
        lists: Lists = {}
        if only != "peers":
            runs = bench.runs(fold, workspace)
            training += runs.complete(bench.seeds)
            lists |= runs.lists(bench.seeds)
        if only != "ours":
            found, tuning = bench.peers(fold, workspace)
            lists |= {f"peer {name}": tables for name, tables in found.items()}
            for name, account in tuning.items():
                chosen.setdefault(name, []).append(_short(account["chosen"]))
        for name, tables in lists.items():
            for table in tables:
                check_lists(workspace, truth, name, table)
            scores.setdefault(name, []).append(score(truth, tables))
        if only != "peers":
            looks.append(bench.look(fold, workspace, scores["two-stage"][-1]))
    pooled = {name: pool(windows) for name, windows in scores.items()}
    peers = {name.removeprefix("peer "): value for name, value in pooled.items() if name.startswith("peer ")}
    if peers:
        show_peers(peers, {name: "; ".join(dict.fromkeys(texts)) for name, texts in chosen.items()}, console)
    if only == "peers":
        return []
    result = _result(bench, prepared, pooled, peers, training, looks)
    show(result, console)
    return rows(result)


def measure_training(bench: Bench, case: str, console: Console) -> list[Row]:
    """Train once per window, from nothing, and print time and memory; no list is scored on a test window."""
    training = []
    for fold, workspace in bench.prepare():
        workspace.export()
        training += bench.runs(fold, workspace).complete(1)
    show_training(training, console)
    return training_rows(training, case)


def _result(
    bench: Bench,
    prepared: list[tuple[Fold, Workspace]],
    pooled: dict[str, Scores],
    peers: dict[str, Scores],
    training: list[Account],
    looks: list[Count],
) -> Result:
    sources = {name.removeprefix("source "): value for name, value in pooled.items() if name.startswith("source ")}
    ours = pooled["two-stage"]
    windows = ", ".join(f"[{fold.window.start:%Y-%m-%d %H:%M:%S}, {fold.window.end:%Y-%m-%d})" for fold, _ in prepared)
    named = best_variants(peers)
    seeds = np.array(ours.seeds)
    by_seed = "by seed" if len(prepared) == 1 else "by seed (all windows' lists alike; above, each user counts once)"
    return Result(
        title=f"{bench.name}: {len(ours.users):,} users, {bench.seeds} seeds",
        ours=ours,
        sources=sources,
        best_source=best(sources),
        peers={case: peers[name] for case, name in named.items()},
        peer_names=named,
        training=training,
        notes=[
            f"Test windows (UTC): {windows}",
            f"NDCG@10 of two-stage {by_seed}: {', '.join(f'{value:.4f}' for value in seeds)}; "
            f"mean {seeds.mean():.4f}, standard deviation {seeds.std():.4f}",
            "A seed moves both stages: the seeded sources' fits, the drawn pairs and negatives, the trees",
            f"Looks at {'this window' if len(looks) == 1 else 'these windows'} with our lists, this one included: "
            f"{max(count.looks for count in looks)}, of {max(count.configurations for count in looks)} configurations "
            f"({bench.looks_dir / FILE})",
        ],
    )


def best_variants(peers: dict[str, Scores]) -> dict[str, str]:
    """Map each case to the peer that stands for it: of RecTools' variants the one that is better on the test window."""
    cases: dict[str, dict[str, Scores]] = {}
    for name, scores in peers.items():
        head, _, tail = name.rpartition(" ")
        cases.setdefault(head if tail in VARIANTS else name, {})[name] = scores
    return {case: best(variants) for case, variants in cases.items()}


def _truth(workspace: Workspace) -> Truth:
    with workspace.connect() as connection:
        return read_judged(connection, workspace.periods.test, allow_repeats=workspace.allow_repeats)


def _digest(handover: Path, quick: bool) -> str:
    files = [*sorted(handover.rglob("*.parquet")), REQUIREMENTS, *(HERE / name for name in PEER_FILES)]
    digests = [sha256(path.read_bytes()).hexdigest() for path in files]
    return sha256(f"{quick} {digests}".encode()).hexdigest()[:16]


def _short(setup: dict[str, object]) -> str:
    """Say a setup in few words: the parameters that are numbers, and the switches that are on."""
    numbers = [f"{key} {value:g}" for key, value in setup.items() if type(value) in (int, float)]
    switches = [key for key, value in setup.items() if value is True]
    everything = ["learns from all that was seen"] if setup["learns_from"] == "seen" else []
    return ", ".join(numbers + switches + everything)


def _source(name: str) -> str:
    """Return the path of a data set; a bare name is one of the data sets beside the repository."""
    beside = ROOT.parent / "shared" / "data" / name
    return str(beside) if not Path(name).exists() and beside.exists() else name


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench quality", description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="what `rankhouse load` reads: a MovieLens directory, one with a mapping.yaml")
    parser.add_argument("--seeds", type=int, help="how many times the chain is trained (default: 5, quick: 1)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_USERS:,} users, small searches, one seed")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    parser.add_argument("--config", type=Path, help="configuration (default: feature_repo/rankhouse.yaml)")
    parser.add_argument("--only", choices=("ours", "peers", "training"), help="leave the rest out")
    parser.add_argument("--cuts", type=int, help=f"so many training cuts, evenly between the quantiles {SPACED}")
    parser.add_argument("--any-code", action="store_true", help="go on with finished runs that other code has made")
    parser.add_argument(
        "--at-cuts", action="store_true", help="compute features at the cuts alone: the same lists sooner"
    )
    parser.add_argument("--one-window", action="store_true", help="don't pool windows, however few users are judged")
    options = parser.parse_args(arguments)
    if options.json and options.only == "peers":
        parser.error("--json compares two-stage with the peers: leave out --only peers")
    if options.at_cuts and options.only == "training":
        parser.error("--only training times whole runs: leave out --at-cuts")
    console, errors = Console(width=None if sys.stdout.isatty() else 200, highlight=False), Console(stderr=True)
    source, home = _source(options.dataset), data_dir()
    folder = home / "bench" / "quality" / (Path(source).name + ("-quick" if options.quick else ""))
    seeds = options.seeds or (1 if options.quick else 5)
    config = options.config.absolute() if options.config else None
    case = TRAINING
    try:
        if options.cuts:
            spaced = with_cuts(load_config(config), options.cuts)
            config, case = folder / f"cuts-{options.cuts}.yaml", f"{TRAINING}, {options.cuts} cuts"
            write_config(spaced, config)
        bench = Bench(
            folder=folder,
            looks_dir=home,
            config=config,
            source=source,
            quick=options.quick,
            seeds=seeds,
            pool=not options.one_window,
            any_code=options.any_code,
            at_cuts=options.at_cuts,
            say=errors.print,
        )
        if options.only == "training":
            found = measure_training(bench, case, console)
        else:
            found = measure(bench, options.only, console)
    except RankhouseError as error:
        errors.print(f"[red]{error}[/red]")
        return 2
    if options.json:
        write_json(found, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
