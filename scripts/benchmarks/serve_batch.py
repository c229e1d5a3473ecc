"""Everyone's list: users per second of `rankhouse recommend --all`, beside RecTools' `recommend` for the same log.

    python scripts/benchmarks/serve_batch.py --data-dir DIR [-k 10]

prints it for a data directory that was refreshed, with its own model. Ours is timed from opening the store to the
written file, in a process that has answered a request before; RecTools' is the call of `recommend` alone, by models
that were fitted before. `rate, cold` is the whole command, from the start of Python.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Final

from quality_environment import peers_python
from quality_handover import write_known
from report import Row, show

from feature_repo.workspace import Workspace
from ranking import model_store
from ranking.recommend import recommend_all
from ranking.serving.batch import FIRST_USERS, all_users, recommend_many
from ranking.serving.clock import ServingClock
from ranking.serving.path import RequestPath

HERE: Final = Path(__file__).parent


def batch_cases(workspace: Workspace, case: str, k: int, trees: int | None) -> list[Row]:
    """Write everyone's list; with `trees` also by RecTools: two stages with as many candidates and trees, ALS alone.

    All have as many threads or processes as the process has cores.
    """
    rates = our_rates(workspace, k)
    rows = [Row(case, name, "users/s", rate, better="higher") for name, rate in rates.items()]
    peers = {} if trees is None else rates_of_peers(workspace, k, trees)
    for name, peer in peers.items():
        rows.append(Row(case, f"rate, {name}", "users/s", rates["rate"], peer, f"rectools {name}", "higher"))
    return rows


def our_rates(workspace: Workspace, k: int) -> dict[str, float]:
    """Return users per second: of the call in a process that has made lists before, and of the command."""
    out = workspace.data_dir.parent / "everyone.parquet"
    path = RequestPath.open(workspace)
    path.warm_up()
    some = all_users(workspace)[:FIRST_USERS]
    list(recommend_many(path, some, k, ServingClock(workspace).now()))
    start = perf_counter()
    written = recommend_all(workspace, out, k)
    warm = perf_counter() - start
    start = perf_counter()
    command = [sys.executable, "-m", "ranking", "recommend", "--all", "-k", str(k), "--out", str(out)]
    command += ["--data-dir", str(workspace.data_dir), "--config", str(workspace.config_path)]
    subprocess.run(command, check=True, cwd=HERE.parents[1], stdout=subprocess.DEVNULL)
    cold = perf_counter() - start
    out.unlink()
    return {"rate": written.users / warm, "rate, cold": written.users / cold}


def rates_of_peers(workspace: Workspace, k: int, trees: int) -> dict[str, float]:
    """Return the users per second of each peer, fitted on the whole log."""
    depths = [source.depth for source in workspace.config.candidates.sources.values()]
    with tempfile.TemporaryDirectory() as folder:
        with workspace.connect() as connection:
            write_known(connection, Path(folder), workspace.now)
        command = [peers_python(), HERE / "serve_peer.py", folder, max(depths), trees, k]
        threads = str(len(os.sched_getaffinity(0)))
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        printed = subprocess.check_output([str(word) for word in command], env=environment, text=True)
    return json.loads(printed.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("-k", type=int, default=10)
    chosen = parser.parse_args()
    workspace = Workspace.open(chosen.data_dir)
    trees = sum(member["rounds"] for member in model_store.read_manifest(workspace).members)
    rows = batch_cases(workspace, "recommend --all", chosen.k, trees)
    show("serve", rows, [f"{trees} trees; {len(os.sched_getaffinity(0))} cores."])


if __name__ == "__main__":
    main()
