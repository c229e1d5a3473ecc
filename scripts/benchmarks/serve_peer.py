"""How many users a second RecTools' own `recommend` serves: two stages, and ALS alone; runs in the peers' environment.

    python serve_peer.py FOLDER CANDIDATES TREES K

FOLDER holds log.parquet, users.parquet and items.parquet as quality_peers.py describes them. The two-stage model has
three generators of so many CANDIDATES each, attributes as features and LightGBM with so many TREES. Prints a JSON
object: users per second by name. Fitting is not measured.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
from quality_peer_models import ALS, BM25KNN, Log, Popular, rectools_dataset
from quality_peer_two_stage import TwoStage
from rectools.models import ImplicitALSWrapperModel

SEED = 0


def rate_of(model: object, users: np.ndarray, dataset: object, k: int) -> float:
    start = perf_counter()
    found = model.recommend(users, dataset, k=k, filter_viewed=True)
    seconds = perf_counter() - start
    return found["user_id"].nunique() / seconds


def main(folder: Path, candidates: int, trees: int, k: int) -> None:
    log = Log.read(folder, likes="targets")
    dataset, users = rectools_dataset(log), np.unique(log.user[log.liked])
    generators = (Popular(days=30), ALS(), BM25KNN())
    shape = TwoStage("lightgbm", generators, candidates, days=30, attributes=True, rounds=trees)
    models = {"two-stage": shape.model(log, SEED), "als": ImplicitALSWrapperModel(ALS().build(SEED))}
    rates = {name: rate_of(model.fit(dataset), users, dataset, k) for name, model in models.items()}
    print(json.dumps(rates))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
