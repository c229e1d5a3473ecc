"""Offline at T beside online after materialising at T: every column of the ranker's service, bit for bit.

    python scripts/benchmarks/parity.py --data-dir DIR [--config FILE] [--pairs 20000] [--json FILE]

The workspace has candidates of its test cut and built features (`rankhouse candidates`, `features build`); T is that
cut. Half of the pairs are candidates, the others are drawn from all users and items, unknown ones among them. Its own
online store and registry stay as they are: a temporary directory holds those of this run.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo import store
from feature_repo.building.snapshots import to_us
from feature_repo.columns import ITEM, TIME, USER
from feature_repo.first_stage import CANDIDATES
from feature_repo.workspace import Workspace

SEED = 7
UNKNOWN = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    original = Workspace.open(options.data_dir, options.config)
    with tempfile.TemporaryDirectory(prefix="rankhouse-parity-") as folder:
        workspace = beside(original, Path(folder))
        moment = workspace.periods.test.start
        pairs = draw(workspace, moment, options.pairs)
        found = compare(workspace, pairs, moment)
    print(
        f"{found['pairs']:,} pairs x {found['columns']} columns at {moment:%Y-%m-%d %H:%M:%S}: "
        f"{found['differences']} of {found['cells']:,} cells differ; offline has data in {found['there']:.1%}, "
        f"among candidates in {found['there_candidates']:.1%}; online has data in {found['there_online']:.1%} of these."
    )
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def beside(original: Workspace, folder: Path) -> Workspace:
    """Return a workspace over the same lake and features with a registry and an online store of its own."""
    for name in ("lake", "features"):
        os.symlink(original.data_dir / name, folder / name)
    workspace = Workspace(folder, original.config, original.config_path)
    workspace.export()
    return workspace


def draw(workspace: Workspace, moment: datetime, count: int) -> pa.Table:
    """Return candidates of the cut, pairs of any users and items, and some with ids that nothing is known of."""
    rng = np.random.default_rng(SEED)
    with workspace.connect() as connection:
        proposed = connection.sql(
            f"SELECT {USER}, {ITEM} FROM read_parquet('{workspace.feature_path(CANDIDATES)}/cut=*/*.parquet', "
            f"hive_partitioning = false) WHERE cut = make_timestamptz({to_us(moment)}) ORDER BY ALL"
        ).to_arrow_table()
        ids = [
            connection.sql(f"SELECT {key} FROM {table} UNION SELECT {key} FROM events ORDER BY ALL").to_arrow_table()
            for key, table in ((USER, "users"), (ITEM, "items"))
        ]
    chosen = proposed.take(pa.array(rng.choice(proposed.num_rows, min(count // 2, proposed.num_rows), replace=False)))
    users, items = (
        table.column(0).combine_chunks().take(pa.array(rng.integers(0, len(table), count // 2))) for table in ids
    )
    unknown = pa.array([-1] * UNKNOWN) if pa.types.is_integer(users.type) else pa.array(["nobody"] * UNKNOWN)
    users = pa.concat_arrays([users, unknown.cast(users.type)])
    items = pa.concat_arrays([items, items.slice(0, UNKNOWN)])
    return pa.concat_tables([chosen, pa.table({USER: users, ITEM: items}, schema=chosen.schema)])


def compare(workspace: Workspace, pairs: pa.Table, moment: datetime) -> dict:
    """Materialise as of the moment and read the pairs from both stores."""
    service = workspace.config.service
    opened = store.apply(workspace)
    with store.quiet():
        for view in opened.list_feature_views():
            start = moment if "stage" in view.tags else store.BEGINNING
            opened.materialize(start_date=start, end_date=moment, feature_views=[view.name])
    store.Clock(moment, (moment,)).write(workspace)
    stamps = pa.array([moment] * pairs.num_rows, pa.timestamp("us", tz="UTC"))
    offline = store.historical_features(workspace, pairs.append_column(TIME, stamps), service)
    online = store.online_features(workspace, pairs, service)
    names = online.column_names[2:]
    differ = {name: different(offline[name], online[name]) for name in names}
    there = sum(len(offline) - offline[name].null_count for name in names)
    both = sum(pc.sum(pc.and_(offline[name].is_valid(), online[name].is_valid())).as_py() or 0 for name in names)
    union = offline.filter(pc.equal(offline["in_union"], 1.0))
    there_union = sum(len(union) - union[name].null_count for name in names)
    return {
        "pairs": pairs.num_rows, "columns": len(names), "cells": len(names) * pairs.num_rows,
        "differences": sum(differ.values()), "differing": {name: rows for name, rows in differ.items() if rows},
        "there": there / (len(names) * pairs.num_rows), "there_online": both / max(there, 1),
        "candidates": len(union), "there_candidates": there_union / max(len(names) * len(union), 1),
    }  # fmt: skip


def different(left: pa.ChunkedArray, right: pa.ChunkedArray) -> int:
    """Return how many values of two columns are not the same bits."""
    if left.type != right.type:
        return len(left)
    nulls = left.is_null().to_numpy() != right.is_null().to_numpy()
    if pa.types.is_floating(left.type):
        one, other = (pc.fill_null(column, 0.0).to_numpy() for column in (left, right))
        return int((nulls | (one.view(f"u{one.itemsize}") != other.view(f"u{other.itemsize}"))).sum())
    return int((nulls | ~pc.fill_null(pc.equal(left, right), True).to_numpy()).sum())


if __name__ == "__main__":
    main()
