"""RecTools' two-stage model as a peer, over any of the single ones; runs in the peers' environment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from catboost import CatBoostRanker
from lightgbm import LGBMRanker
from quality_peer_models import ALS, BM25KNN, EASE, UNSEEN, CosineKNN, Log, Model, Popular, rectools_dataset
from rectools.model_selection import TimeRangeSplitter
from rectools.models import EASEModel, ImplicitALSWrapperModel, ImplicitItemKNNWrapperModel, PopularModel
from rectools.models.ranking import (
    CandidateFeatureCollector,
    CandidateGenerator,
    CandidateRankingModel,
    CatBoostReranker,
    PerUserNegativeSampler,
    Reranker,
)


class LightGBMReranker(Reranker):
    """LightGBM's ranker needs group sizes, which RecTools leaves to its users."""

    def prepare_fit_kwargs(self, candidates_with_target: pd.DataFrame) -> dict[str, object]:
        ordered = candidates_with_target.sort_values("user_id", kind="stable")
        return {
            "X": ordered.drop(columns=["user_id", "item_id", "target"]),
            "y": ordered["target"],
            "group": ordered.groupby("user_id").size().to_numpy(),
        }


class Attributes(CandidateFeatureCollector):
    """What the data set says about users and items, and how popular an item is, as columns of every candidate."""

    def __init__(self, log: Log) -> None:
        self.users = _columns(log.users).assign(user_id=np.arange(log.shape[0]))
        self.items = _columns(log.items).assign(item_id=np.arange(log.shape[1]))

    def _get_user_features(self, users: object, dataset: object, fold_info: object) -> pd.DataFrame:
        return self.users

    def _get_item_features(self, items: object, dataset: object, fold_info: object) -> pd.DataFrame:
        popularity = dataset.get_raw_interactions().groupby("item_id").size()
        return self.items.assign(popularity=self.items["item_id"].map(popularity).fillna(0))


@dataclass(frozen=True)
class TwoStage:
    """RecTools' tutorial by default: popular and cosine neighbours, 30 candidates each, the last week as labels."""

    reranker: Literal["catboost", "lightgbm"]
    generators: tuple[Model, ...] = (Popular(), CosineKNN())
    candidates: int = 30
    days: int = 7
    negatives: int = 3
    attributes: bool = False
    rounds: int | None = None  # null: as many trees as the library makes by default

    def scores(self, log: Log, users: np.ndarray, seed: int) -> np.ndarray:
        dataset = rectools_dataset(log)
        model = self.model(log, seed).fit(dataset)
        served = np.intersect1d(users, log.user[log.liked])
        depth = self.candidates * len(self.generators)
        found = model.recommend(served, dataset, k=depth, filter_viewed=True)
        result = np.full((len(users), log.shape[1]), UNSEEN, np.float32)
        row = np.full(log.shape[0], -1)
        row[users[users >= 0]] = np.flatnonzero(users >= 0)
        result[row[found["user_id"].to_numpy()], found["item_id"].to_numpy()] = found["score"].to_numpy()
        return result

    def model(self, log: Log, seed: int) -> CandidateRankingModel:
        """Return RecTools' model, not fitted yet."""
        return CandidateRankingModel(
            [self._generator(model, seed) for model in self.generators],
            splitter=TimeRangeSplitter(f"{self.days}D"),
            reranker=self._reranker(seed),
            sampler=PerUserNegativeSampler(self.negatives, random_state=seed),
            feature_collector=Attributes(log) if self.attributes else None,
        )

    def _generator(self, model: Model, seed: int) -> CandidateGenerator:
        beyond = self.candidates + 1
        return CandidateGenerator(
            _rectools_model(model, seed), self.candidates, keep_ranks=True, keep_scores=True, ranks_fillna_value=beyond
        )

    def _reranker(self, seed: int) -> Reranker:
        if self.reranker == "catboost":
            # Without a log in the working directory; everything else as CatBoost sets it.
            ranker = CatBoostRanker(
                iterations=self.rounds, random_seed=seed, verbose=False, allow_writing_files=False, thread_count=1
            )
            return CatBoostReranker(ranker)
        return LightGBMReranker(
            LGBMRanker(n_estimators=self.rounds or 100, random_state=seed, n_jobs=1, verbosity=-1, deterministic=True)
        )


def _rectools_model(model: Model, seed: int) -> object:
    match model:
        case Popular(days=None):
            return PopularModel()
        case Popular(days=days):
            return PopularModel(period=timedelta(days=days))
        case ALS():
            return ImplicitALSWrapperModel(model.build(seed))
        case CosineKNN() | BM25KNN():
            return ImplicitItemKNNWrapperModel(model.build(seed))
        case EASE(regularization=regularization):
            return EASEModel(regularization=regularization)
    raise TypeError(f"RecTools has no counterpart of {model!r}")


def _columns(table: pa.Table) -> pd.DataFrame:
    """Numbers as they are, times as days, texts and lists as one 0/1 column per value of the 30 most frequent ones."""
    columns: dict[str, np.ndarray] = {}
    for name in table.column_names:
        values = table[name].combine_chunks()
        if pa.types.is_timestamp(values.type):
            days = pc.divide(pc.cast(values.cast(pa.timestamp("us")), pa.int64()), 86_400_000_000)
            columns[name] = days.to_pandas().to_numpy(np.float64)
        elif pa.types.is_list(values.type) or pa.types.is_string(values.type):
            columns |= _indicators(name, values)
        else:
            columns[name] = values.to_pandas().to_numpy(np.float64)
    return pd.DataFrame(columns, index=range(table.num_rows))


def _indicators(name: str, values: pa.Array) -> dict[str, np.ndarray]:
    is_list = pa.types.is_list(values.type)
    row = pc.list_parent_indices(values).to_numpy() if is_list else np.arange(len(values))
    flat = pc.list_flatten(values) if is_list else values
    counts = pa.table({"value": flat}).group_by("value").aggregate([("value", "count")])
    frequent = counts.sort_by([("value_count", "descending"), ("value", "ascending")])["value"].drop_null()[:30]
    result = {}
    for value in frequent.to_pylist():
        column = np.zeros(len(values), np.float32)
        column[row[pc.equal(flat, value).fill_null(False).to_numpy(zero_copy_only=False)]] = 1.0
        result[f"{name}={value}"] = column
    return result
