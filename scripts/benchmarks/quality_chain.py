"""One training run of the whole chain on a workspace, in a process of its own, so that its peak memory is its own.

    python quality_chain.py DATA_DIR CONFIG OUT

OUT receives `two-stage.parquet` and `source NAME.parquet` (user_id, item_id, rank; ten per judged user of the test
window) and `run.json` with the seconds per stage, the peak memory and the validation metrics. The same functions as
the commands candidates, features, train and evaluate.
"""

from __future__ import annotations

import argparse
import json
import resource
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from candidate_gen import entity_table
from feature_repo.building.run import build_features
from feature_repo.columns import ITEM, RANK, USER
from feature_repo.store import apply
from feature_repo.workspace import Workspace
from ranking.evaluate import evaluate, source_lists
from ranking.model_store import ModelManifest
from ranking.train import train
from ranking.truth import read_judged

K = 10
Result = TypeVar("Result")


def run(workspace: Workspace, out: Path) -> None:
    """Train and write lists and figures; what the workspace holds at these cuts is replaced."""
    seconds: dict[str, float] = {}
    _timed(seconds, "candidates", lambda: entity_table.write_candidates(workspace, list(workspace.periods.cuts)))
    _timed(seconds, "features", lambda: _features(workspace))
    manifest = _timed(seconds, "train", lambda: train(workspace))
    # The kernel counts kilobytes; whatever evaluation needs comes after.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    out.mkdir(parents=True, exist_ok=True)
    _, lists = evaluate(workspace, model=manifest.name, k=K)
    pq.write_table(lists.select([USER, ITEM, RANK]), out / "two-stage.parquet")
    _write_sources(workspace, out)
    (out / "run.json").write_text(json.dumps(_account(manifest, seconds, peak), indent=2) + "\n", encoding="utf-8")


def _features(workspace: Workspace) -> None:
    build_features(workspace)
    apply(workspace)


def _write_sources(workspace: Workspace, out: Path) -> None:
    test = workspace.periods.test
    with workspace.connect() as connection:
        judged = read_judged(connection, test, allow_repeats=workspace.config.allow_repeats).users
    rows = entity_table.read(workspace, test.start)
    rows = rows.filter(pc.is_in(rows[USER], value_set=judged.cast(rows[USER].type)))
    for name in workspace.config.candidates.sources:
        lists: pa.Table = source_lists(rows, name)
        pq.write_table(lists.filter(pc.less_equal(lists[RANK], K)), out / f"source {name}.parquet")


def _account(manifest: ModelManifest, seconds: dict[str, float], peak: float) -> dict[str, object]:
    return {
        "seconds": seconds,
        "peak_mb": peak,
        "rounds": manifest.rounds,
        "cuts": len(manifest.cuts),
        "validation": manifest.metrics,
        "training": manifest.training,
    }


def _timed(seconds: dict[str, float], name: str, stage: Callable[[], Result]) -> Result:
    start = perf_counter()
    result = stage()
    seconds[name] = perf_counter() - start
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the chain once for scripts/bench quality.")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    run(Workspace.open(options.data_dir, options.config), options.out)


if __name__ == "__main__":
    main()
