"""`scripts/bench pit`: the point-in-time join against Feast's own DuckDB store and polars, over the same Parquet files.

Every measurement is a process of its own bound to its cores (one, unless the metric says otherwise); figures are
medians; time runs from the call to the result in memory (or on disk, where it is saved); memory is the peak above the
process after its imports. The results are compared cell by cell with the peers' before anything is printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from peer_environment import peer_python
from pit_data import FULL, QUICK, make
from report import Row, median, show, write_json

from feature_repo.data_dir import data_dir

WORKER = Path(__file__).with_name("pit_worker.py")
KEYS = ["user_id", "item_id", "event_timestamp", "row"]


@dataclass(frozen=True)
class Measured:
    """Medians of one contender in one case, and where its result lies."""

    seconds: float
    megabytes: float
    result: Path


@dataclass
class Bench:
    """Runs contenders over one folder of data; the order is rounds of all contenders, so that noise is shared."""

    data: Path
    results: Path
    rounds: int
    long_rounds: int
    best_of: int
    polars: Path

    def measure(
        self, contenders: Sequence[str], spine: str, ttl_days: int, *, threads: int = 1, rounds: int | None = None
    ) -> dict[str, Measured]:
        figures: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
        for number in range(rounds or self.rounds):
            for name in contenders:
                figures[name].append(self._run(name, spine, ttl_days, threads, keep=number == 0))
        return {
            name: Measured(
                median(run["seconds"] for run in runs),
                median(run["megabytes"] for run in runs),
                self._result(name, spine, ttl_days),
            )
            for name, runs in figures.items()
        }

    def best(self, contender: str, spine: str, ttl_days: int, threads: int) -> float:
        runs = (self._run(contender, spine, ttl_days, threads, keep=False) for _ in range(self.best_of))
        return min(run["seconds"] for run in runs)

    def _run(self, contender: str, spine: str, ttl_days: int, threads: int, keep: bool) -> dict[str, float]:
        python = str(self.polars) if contender.startswith("polars") else sys.executable
        result = self._result(contender, spine, ttl_days)
        arguments = [contender, self.data, spine, ttl_days, threads, result, int(keep)]
        done = subprocess.run([python, WORKER, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{contender} failed on {spine}, ttl {ttl_days} d:\n{done.stderr}")
        measured = json.loads(done.stdout.splitlines()[-1])
        print(f"  {contender}, {spine}, ttl {ttl_days}: {measured['seconds']:.2f} s", file=sys.stderr)
        return measured

    def _result(self, contender: str, spine: str, ttl_days: int) -> Path:
        return self.results / f"{contender}-{spine}-{ttl_days}.parquet"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench pit", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same cases, small enough for two minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--rounds", type=int, default=3, help="runs per figure (default 3)")
    parser.add_argument("--without-feast", action="store_true", help="leave out the stock store, which takes minutes")
    options = parser.parse_args()
    folder = data_dir() / "bench" / "pit"
    data = make(folder, QUICK if options.quick else FULL)
    with tempfile.TemporaryDirectory(dir=folder) as results:
        long_rounds, best_of = (1, 2) if options.quick else (options.rounds, 5)
        bench = Bench(data, Path(results), options.rounds, long_rounds, best_of, peer_python("pit"))
        rows, notes = run(bench, with_feast=not options.without_feast)
    show(f"Point-in-time join ({data.name} size; smaller is better, ratio above 1: ours is better)", rows, notes)
    if options.json:
        write_json(rows, options.json)


def run(bench: Bench, *, with_feast: bool) -> tuple[list[Row], list[str]]:
    contenders = ["ours", *(["feast"] if with_feast else []), "polars", "duckdb"]
    rows: list[Row] = []
    notes = []
    with_ttl = bench.measure(contenders, "spine", 30)
    notes += compare("1M spine, ttl 30 d", with_ttl)
    rows += _rows("1M spine, ttl 30 d", with_ttl)
    without = bench.measure(["ours", "polars", "duckdb"], "spine", 0)
    notes += compare("1M spine, no ttl", without)
    rows += _rows("1M spine, no ttl", without)
    one, two = (bench.best("ours", "spine", 30, threads) for threads in (1, 2))
    rows.append(Row("1M spine, ttl 30 d", "time, 2 threads, best", "s", two, one, "ours, 1 thread"))
    saved = bench.measure(["ours-persist"], "spine", 30, rounds=bench.long_rounds)["ours-persist"]
    long = bench.measure(["ours-persist", "polars-persist"], "long_spine", 30, rounds=bench.long_rounds)
    notes += compare("10M spine", long)
    rows += _rows("10M spine", long)
    factor = pq.read_metadata(long["ours-persist"].result).num_rows / pq.read_metadata(saved.result).num_rows
    growth = long["ours-persist"].seconds / saved.seconds / factor
    rows.append(Row("10M spine", "time per row against 1M", "x", growth))
    notes.append(
        "10M spine: saved as Parquet through persist. Feast's store is not run without a ttl: it does not finish."
    )
    return rows, notes


def _rows(case: str, measured: dict[str, Measured]) -> list[Row]:
    (_, mine), *peers = measured.items()
    rows = []
    for name, theirs in peers:
        peer = name.removesuffix("-persist")
        rows.append(Row(case, "time", "s", mine.seconds, theirs.seconds, peer))
        rows.append(Row(case, "memory", "MB", mine.megabytes, theirs.megabytes, peer))
    return rows


def compare(case: str, measured: dict[str, Measured]) -> list[str]:
    """Check that every contender found the same features for every row; stop where one differs."""
    (_, mine), *peers = measured.items()
    for name, theirs in peers:
        for column in pq.read_schema(mine.result).names:
            ours, other = (_column(path, column) for path in (mine.result, theirs.result))
            if not ours.equals(other):
                raise SystemExit(f"{case}: column {column} of {name} differs from ours")
    names = ", ".join(name.removesuffix("-persist") for name, _ in peers)
    return [f"{case}: every cell equal to {names}."]


def _column(path: Path, column: str) -> pa.Array:
    """Read one column in the order of the spine's rows."""
    table = pq.read_table(path, columns=list({column, "row"}))
    values = table[column].take(pc.sort_indices(table["row"])).combine_chunks()
    return values.cast(pa.float64()) if pa.types.is_integer(values.type) else values


if __name__ == "__main__":
    main()
