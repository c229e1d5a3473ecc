"""Tune the peers on the validation cut, fit them again at the test cut, and write what they recommend.

    python quality_peers.py HANDOVER OUT [--quick]

Runs in the peers' environment (requirements-quality.txt), never in the product's, and gets no label of the test window.
HANDOVER holds two folders, `validation` and `test`, each with
    log.parquet       user_id, item_id, event_timestamp, target (bool), consuming (bool): the events before the cut
    users.parquet     user_id and attributes of everyone with an event before the cut
    items.parquet     item_id and attributes of every item with an event before the cut
    judged.parquet    user_id: who is judged
and `validation/relevant.parquet` (user_id, item_id). OUT receives
    PEER.SEED.parquet user_id, item_id, rank (from 1): ten items per judged user at the test cut
    PEER.json         what was tried, with its validation NDCG@10, what was chosen, and the seconds it took
    tuning.json       all of these, once every peer is done
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from implicit.utils import ParameterWarning
from quality_peer_models import ALS, BM25KNN, EASE, CosineKNN, Log, Model, Popular, lists
from threadpoolctl import threadpool_limits

K = 10
ALS_SEEDS = 5
TWO_STAGE_SEEDS = 3
# Candidates per generator, days of labels, negatives per user, attributes of users and items as features, trees (None:
# as many as the library makes by default).
TWO_STAGE_VARIANTS = (
    (30, 7, 3, False, None),
    (30, 7, 3, False, 50),
    (30, 7, 3, True, None),
    (30, 7, 3, True, 50),
    (30, 30, 3, False, None),
    (100, 7, 30, False, None),
    (100, 30, 30, False, None),
    (100, 30, 30, True, None),
    (100, 30, 30, False, 50),
    (100, 30, 30, True, 50),
)
# EASE is left out: its matrix would be inverted twice for every variant.
GENERATORS = ("popular", "recent popular", "als", "cosine knn", "bm25")
DONE = "tuning.json"
Account = dict[str, Any]
"""What was tried, the position of the choice among it, and the seconds that it took."""


@dataclass(frozen=True)
class Setup:
    """A model and the events it learns from: "targets", or "seen" for everything that was consumed."""

    model: Model
    likes: str = "targets"

    def describe(self) -> dict[str, object]:
        return _described(self.model) | {"learns_from": self.likes}


@dataclass(frozen=True)
class Cut:
    """The hand-over of one cut: its logs by the events that are learned from, and the judged users."""

    logs: dict[str, Log]
    users: pa.Array

    @classmethod
    def read(cls, folder: Path) -> Cut:
        table = pq.read_table(folder / "log.parquet", columns=["target", "consuming"])
        differ = pc.any(pc.not_equal(table["target"], table["consuming"])).as_py()
        kinds = ("targets", "seen") if differ else ("targets",)
        users = pq.read_table(folder / "judged.parquet")["user_id"].combine_chunks()
        return cls({likes: Log.read(folder, likes=likes) for likes in kinds}, users)

    def recommend(self, setup: Setup, seed: int) -> pa.Table:
        """Fit on the events before the cut; return user_id, item_id, rank."""
        log = self.logs[setup.likes]
        users = log.encode_users(self.users)
        items = lists(log, users, setup.model.scores(log, users, seed), K)
        row, place = np.nonzero(items >= 0)
        return pa.table(
            {
                "user_id": self.users.take(pa.array(row)),
                "item_id": log.item_ids.take(pa.array(items[row, place])),
                "rank": pa.array((place + 1).astype(np.int32)),
            }
        )


@dataclass(frozen=True)
class Judge:
    """The relevant pairs of the validation window."""

    users: pa.Array
    relevant: pa.Table

    def ndcg(self, recommended: pa.Table) -> float:
        """Return the mean NDCG@10 over the judged users."""
        discounts = 1.0 / np.log2(np.arange(2, K + 2))
        ideal = np.cumsum(discounts)
        counts = self.relevant.group_by("user_id").aggregate([("item_id", "count")])
        found = recommended.join(self.relevant, ["user_id", "item_id"], join_type="inner")
        best = ideal[np.minimum(counts["item_id_count"].to_numpy(), K) - 1]
        position = pc.index_in(found["user_id"], value_set=counts["user_id"].combine_chunks()).to_numpy()
        gains = np.bincount(position, discounts[found["rank"].to_numpy() - 1], minlength=len(best))
        return float((gains / best).sum() / len(self.users))


@dataclass(frozen=True)
class Peer:
    """A name, the setups to choose from, and how many seeds its results vary with (1: none)."""

    name: str
    setups: list[Setup]
    seeds: int = 1


def single_peers(kinds: list[str], *, quick: bool) -> list[Peer]:
    """The single models with what is tried for each; `quick` tries next to nothing."""
    grids: dict[str, list[Model]] = {
        "popular": [Popular()],
        "recent popular": [Popular(days) for days in (1, 3, 7, 14, 30, 60, 120)],
        "als": [
            ALS(factors, regularization, alpha)
            for factors, regularization, alpha in product((8, 16, 32, 64), (1.0, 10.0, 50.0, 150.0), (1.0, 4.0, 16.0))
        ],
        "cosine knn": [CosineKNN(neighbours) for neighbours in (20, 50, 100, 200, 500, 1000, 4000)],
        "bm25": [
            BM25KNN(neighbours, k1, b)
            for neighbours, k1, b in product((20, 100, 500, 1000), (0.2, 0.5, 1.2, 2.0), (0.0, 0.2, 0.5, 0.75))
        ],
        "ease": [EASE(weight) for weight in (100.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0, 32000.0)],
    }
    if quick:
        grids |= {
            "recent popular": [Popular(7), Popular(30)],
            "als": [ALS(8, 50.0), ALS(16, 10.0)],
            "cosine knn": [CosineKNN(100)],
            "bm25": [BM25KNN(1000, 0.5, 0.2)],
            "ease": [EASE(4000.0)],
        }
    seeds = {"als": 1 if quick else ALS_SEEDS}
    return [
        Peer(name, [Setup(model, likes) for likes in kinds for model in grid], seeds.get(name, 1))
        for name, grid in grids.items()
    ]


def two_stage_peers(chosen: dict[str, Setup], *, quick: bool) -> list[Peer]:
    """RecTools' two-stage models: its tutorial, its defaults over the tuned single models, and tuned variants of these.

    The defaults are there because validation has been seen to choose worse ones.
    """
    from quality_peer_two_stage import TwoStage

    singles = tuple(chosen[name].model for name in GENERATORS)
    likes = chosen["cosine knn"].likes
    seeds, first = (1, -1) if quick else (TWO_STAGE_SEEDS, 0)
    peers = []
    for reranker in ("catboost", "lightgbm"):
        variants = [TwoStage(reranker, singles, *values) for values in TWO_STAGE_VARIANTS[first:]]
        rounds = 50 if quick else None
        peers += [
            Peer(f"rectools {reranker} tutorial", [Setup(TwoStage(reranker, rounds=rounds))], seeds),
            Peer(f"rectools {reranker} defaults", [Setup(TwoStage(reranker, singles, rounds=rounds), likes)], seeds),
            Peer(f"rectools {reranker} tuned", [Setup(model, likes) for model in variants], seeds),
        ]
    return peers


def tune(peer: Peer, cut: Cut, judge: Judge) -> Account:
    """Choose the setup with the best validation NDCG@10, the first among equals; return the account of the search."""
    start = perf_counter()
    tried = [judge.ndcg(cut.recommend(setup, seed=0)) for setup in peer.setups]
    choice = int(np.argmax(tried))
    return {
        "choice": choice,
        "chosen": peer.setups[choice].describe(),
        "validation ndcg@10": tried[choice],
        "tried": [setup.describe() | {"ndcg@10": value} for setup, value in zip(peer.setups, tried, strict=True)],
        "tuning_seconds": perf_counter() - start,
    }


def measure(peer: Peer, validation: Cut, test: Cut, judge: Judge, out: Path) -> Account:
    """Tune a peer, fit it at the test cut, write its lists and its account; what has an account is left as it is."""
    path = out / f"{peer.name}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    account = tune(peer, validation, judge)
    start = perf_counter()
    for seed in range(peer.seeds):
        pq.write_table(test.recommend(peer.setups[account["choice"]], seed), out / f"{peer.name}.{seed}.parquet")
    account["fit_seconds"] = (perf_counter() - start) / peer.seeds
    _write_json(path, account)
    print(f"{peer.name}: validation {account['validation ndcg@10']:.4f} {json.dumps(account['chosen'])}", flush=True)
    return account


def run(handover: Path, out: Path, *, quick: bool) -> None:
    """Measure every peer; a run that was cut off goes on with the peer at which it stopped."""
    validation, test = Cut.read(handover / "validation"), Cut.read(handover / "test")
    judge = Judge(validation.users, pq.read_table(handover / "validation" / "relevant.parquet"))
    out.mkdir(parents=True, exist_ok=True)
    singles = single_peers([kind for kind in validation.logs if kind in test.logs], quick=quick)
    accounts = {peer.name: measure(peer, validation, test, judge, out) for peer in singles}
    chosen = {peer.name: peer.setups[accounts[peer.name]["choice"]] for peer in singles}
    for peer in two_stage_peers(chosen, quick=quick):
        accounts[peer.name] = measure(peer, validation, test, judge, out)
    _write_json(out / DONE, accounts)


def _write_json(path: Path, content: object) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _described(model: Model) -> dict[str, object]:
    described: dict[str, object] = {"model": type(model).__name__}
    for field in fields(model):
        value = getattr(model, field.name)
        described[field.name] = [_described(part) for part in value] if isinstance(value, tuple) else value
    return described


def main() -> None:
    parser = argparse.ArgumentParser(description="Tune and run the peers of scripts/bench quality.")
    parser.add_argument("handover", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    # RecTools hands implicit's neighbours a matrix of the kind that it warns of.
    warnings.filterwarnings("ignore", category=ParameterWarning)
    with threadpool_limits(1):
        run(options.handover, options.out, quick=options.quick)


if __name__ == "__main__":
    main()
