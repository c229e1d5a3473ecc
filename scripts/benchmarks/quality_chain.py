"""Training runs of the whole chain on a workspace, in a process of their own: so its peak memory is that of the run.

    python quality_chain.py [--at-cuts] DATA_DIR CODE RUN [RUN ...]

CODE is a digest that the account repeats. Every RUN is a folder that holds a config.yaml. It receives
`two-stage.parquet` and `source NAME.parquet` (user_id, item_id, rank; ten per judged user of the test window) and,
last, `run.json`: seconds per stage, peak memory, validation metrics. The same functions as the commands candidates,
features, train and evaluate.

Several runs differ in their seeds alone. Sources without a seed are then fitted once per cut, and features, which no
seed reaches, are found current; their seconds and memory are therefore no training run's, and only those of a run that
is alone, on a workspace without features, are. Nor are those of a run with `--at-cuts`, which computes features at the
cuts alone, not every midnight: all that training and scoring read, in a fraction of the time where a log spans decades.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import TypeVar
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from candidate_gen import entity_table
from candidate_gen.configured import configured_sources
from candidate_gen.interactions import Interactions
from candidate_gen.source import CandidateSource
from feature_repo.building import run as building
from feature_repo.building.snapshots import to_us
from feature_repo.columns import ITEM, RANK, USER
from feature_repo.config import CandidatesConfig
from feature_repo.store import apply
from feature_repo.workspace import Workspace
from ranking.evaluate import evaluate, source_lists
from ranking.model_store import ModelManifest
from ranking.train import train
from ranking.truth import read_judged

K = 10
CONFIG, ACCOUNT, TWO_STAGE = "config.yaml", "run.json", "two-stage.parquet"
Result = TypeVar("Result")


@dataclass(frozen=True)
class FitOnce:
    """Stands for a source without a seed: stage one has it fitted and goes on with the fitted source that it gets.

    `fitted`: what was fitted before, by cut; another fit on the same log would give the same bytes.
    """

    source: CandidateSource
    fitted: dict[datetime, CandidateSource]

    @property
    def past_only(self) -> bool:
        return self.source.past_only

    def learned_from(self, interactions: Interactions) -> Interactions:
        return self.source.learned_from(interactions)

    def fit(self, interactions: Interactions) -> CandidateSource:
        if interactions.as_of not in self.fitted:
            self.fitted[interactions.as_of] = self.source.fit(interactions)
        return self.fitted[interactions.as_of]


@dataclass(frozen=True)
class Sources:
    """Stands for `configured_sources` in runs that differ in their seeds alone; `fitted`: by name, then by cut."""

    fitted: dict[str, dict[datetime, CandidateSource]] = field(default_factory=dict)

    def __call__(self, config: CandidatesConfig) -> dict[str, CandidateSource | FitOnce]:
        return {
            name: source if "seed" in source.get_params() else FitOnce(source, self.fitted.setdefault(name, {}))
            for name, source in configured_sources(config).items()
        }


def run(workspace: Workspace, out: Path, code: str, *, at_cuts: bool = False) -> None:
    """Train and write lists and figures; what the workspace holds at these cuts is replaced."""
    seconds: dict[str, float] = {}
    _timed(seconds, "candidates", lambda: entity_table.write_candidates(workspace, list(workspace.periods.cuts)))
    _timed(seconds, "features", lambda: compute_features(workspace, at_cuts=at_cuts))
    manifest = _timed(seconds, "train", lambda: train(workspace))
    # The kernel counts kilobytes; whatever evaluation needs comes after.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    _, lists = evaluate(workspace, model=manifest.name, k=K)
    pq.write_table(lists.select([USER, ITEM, RANK]), out / TWO_STAGE)
    _write_sources(workspace, out)
    account = {"code": code, "at_cuts": at_cuts, "cuts": len(workspace.periods.train)}
    account |= _account(manifest, seconds, peak)
    temporary = out / f".{ACCOUNT}"
    temporary.write_text(json.dumps(account, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, out / ACCOUNT)
    stages = ", ".join(f"{name} {taken:.0f} s" for name, taken in seconds.items())
    ndcg = manifest.metrics["validation ndcg@10"]
    print(f"seed {out.name}: {stages}; {manifest.rounds} trees, validation NDCG@10 {ndcg:.4f}", flush=True)


def compute_features(workspace: Workspace, *, at_cuts: bool) -> None:
    """Build and register the views, with rows of every midnight or of the cuts alone; at a cut they say the same."""
    if at_cuts:
        with mock.patch.object(building, "workspace_calendar", _cuts_of):
            building.build_features(workspace)
    else:
        building.build_features(workspace)
    apply(workspace)


def _cuts_of(workspace: Workspace, cuts: Iterable[datetime] = ()) -> np.ndarray:
    return np.array(sorted({to_us(cut) for cut in (*workspace.periods.cuts, *cuts)}), np.int64)


def _write_sources(workspace: Workspace, out: Path) -> None:
    test = workspace.periods.test
    with workspace.connect() as connection:
        judged = read_judged(connection, test, allow_repeats=workspace.allow_repeats).users
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
        "validation": manifest.metrics,
        "training": manifest.training,
    }


def _timed(seconds: dict[str, float], name: str, stage: Callable[[], Result]) -> Result:
    start = perf_counter()
    result = stage()
    seconds[name] = perf_counter() - start
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the chain for scripts/bench quality.")
    parser.add_argument("--at-cuts", action="store_true", help="features at the cuts alone")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("code")
    parser.add_argument("runs", type=Path, nargs="+", metavar="run")
    options = parser.parse_args()
    several = mock.patch.object(entity_table, "configured_sources", Sources())
    with several if len(options.runs) > 1 else nullcontext():
        for out in options.runs:
            workspace = Workspace.open(options.data_dir, out / CONFIG)
            run(workspace, out, options.code, at_cuts=options.at_cuts)


if __name__ == "__main__":
    main()
