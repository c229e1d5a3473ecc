"""The peers of `scripts/bench candidates`: RecTools' own models, run in the peers' environment.

    python candidates_peers.py LOG.parquet USERS.parquet OUT_DIR

LOG holds user_id, item_id, event_timestamp of label events before the cut; USERS holds user_id. Per model, OUT_DIR gets
MODEL.parquet (user_id, item_id, rank) and times.json (seconds to fit and to recommend 100 items to every user).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from time import perf_counter

import pandas as pd
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import EASEModel, ImplicitALSWrapperModel, ImplicitItemKNNWrapperModel, PopularModel

DEPTH = 100
SEEDS = (0, 1, 2, 3, 4)


def models() -> dict[str, Callable[[], object]]:
    """Return the models by the name of the case that they are compared in."""
    return {
        "popular": lambda: PopularModel(popularity="n_interactions"),
        "recent popularity": lambda: PopularModel(popularity="n_interactions", period=timedelta(days=7)),
        **{f"als seed {seed}": _als(seed) for seed in SEEDS},
        "bm25 knn": lambda: ImplicitItemKNNWrapperModel(BM25Recommender(K=1000, K1=0.5, B=0.2, num_threads=1)),
        "tfidf knn": lambda: ImplicitItemKNNWrapperModel(TFIDFRecommender(K=1000, num_threads=1)),
        "cosine knn": lambda: ImplicitItemKNNWrapperModel(CosineRecommender(K=1000, num_threads=1)),
        "ease": lambda: EASEModel(regularization=16000.0),
    }


def _als(seed: int) -> Callable[[], object]:
    return lambda: ImplicitALSWrapperModel(
        AlternatingLeastSquares(factors=8, regularization=50.0, iterations=15, num_threads=1, random_state=seed)
    )


def main() -> None:
    log_path, users_path, folder = map(Path, sys.argv[1:])
    events = pd.read_parquet(log_path)
    log = pd.DataFrame(
        {
            Columns.User: events["user_id"],
            Columns.Item: events["item_id"],
            Columns.Weight: 1.0,
            Columns.Datetime: events["event_timestamp"].dt.tz_localize(None).astype("datetime64[ns]"),
        }
    )
    users = pd.read_parquet(users_path)["user_id"].to_numpy()
    dataset = Dataset.construct(log)
    times = {}
    for name, make in models().items():
        start = perf_counter()
        model = make()
        model.fit(dataset)
        found = model.recommend(users, dataset, k=DEPTH, filter_viewed=True)
        times[name] = perf_counter() - start
        found.rename(columns={Columns.Rank: "rank"})[["user_id", "item_id", "rank"]].to_parquet(
            folder / f"{name}.parquet", index=False
        )
    (folder / "times.json").write_text(json.dumps(times), encoding="utf-8")


if __name__ == "__main__":
    main()
