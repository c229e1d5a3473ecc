"""`scripts/bench serve`: a request from retrieval to order, over HTTP, in batches, and the store below it.

The world is synthetic and made once, under `<data dir>/bench/serve`. `predict alone` is LightGBM's own
`Booster.predict` on the matrix that the same request scored, on one thread; what scores in the request itself is in a
note. `in-process 500` has a model of 30 features and 300 trees of 63 leaves, `recommend` and `rank` have the one that
was trained on the shipped service. Clients, workers and all else share the machine's cores. Features are read from the
stores of online_store.py: 500 pairs, 30 numbers in three views, vectors.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import online_store
import pyarrow as pa
import serve_redis
import yaml
from report import Row, show, write_json
from serve_batch import batch_cases
from serve_http import CLIENTS, WORKERS, Load, Server, ask_for, effect_of_events, milliseconds, serving

from feature_repo.columns import ITEM, USER
from feature_repo.config import DEFAULT_PATH
from feature_repo.data_dir import data_dir
from feature_repo.loading import LoadOptions, World, load_source
from feature_repo.store import quiet
from feature_repo.workspace import Workspace
from ranking.demo import DemoRun, stages
from ranking.encoding import Encoding
from ranking.serving.batch import all_users
from ranking.serving.clock import ServingClock
from ranking.serving.features import ModelColumns
from ranking.serving.memory import settle
from ranking.serving.path import RequestPath
from ranking.serving.request import Ask

CANDIDATES: Final = 500
K: Final = 10
QUANTILES: Final = {"p50": 0.5, "p99": 0.99}
TURNS: Final = 5
STAGES: Final = ("candidates", "features", "train", "refresh")
TRAINED_USERS: Final = 300
"""So many grow trees as large as all would; after each tree their validation rows alone are scored, not everyone's."""


@dataclass(frozen=True)
class Scale:
    """How large the world is, how many trees and how long everything is measured."""

    world: World
    rounds: int
    depth: int
    requests: int
    seconds: float
    events: int


QUICK: Final = Scale(World(users=300, items=700, days=60, seed=1), 60, 150, 100, 2.0, 5)
FULL: Final = Scale(World(users=2_000, items=2_000, days=120, seed=1), 300, 200, 1_000, 15.0, 50)


def configured(folder: Path, scale: Scale) -> Path:
    """Write the configuration: the shipped one with three deep sources, one training cut and so many trees."""
    config = yaml.safe_load(DEFAULT_PATH.read_text(encoding="utf-8"))
    sources = config["candidates"]["sources"]
    kept = {name: {**sources[name], "depth": scale.depth} for name in ("recent_popularity", "als", "bm25_knn")}
    config["candidates"] |= {"sources": kept, "extra_pairs": 0, "users_per_cut": TRAINED_USERS}
    config["split"]["train"] = [{"quantile": 0.6}]
    config["ranker"] |= {"blend": [], "boosters": 1, "rounds": scale.rounds, "early_stopping": scale.rounds}
    # Validation picks the number of trees: with steps so small it is best after nearly all of them.
    config["ranker"]["params"] |= {"num_leaves": 63, "learning_rate": 0.3 / scale.rounds}
    config["serving"]["max_candidates"] = CANDIDATES
    path = folder / "rankhouse.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def made(folder: Path, scale: Scale, source: str = "synthetic") -> Workspace:
    """Return the world, or another data set, with a trained model and the online store at now.

    Stages that are current are not run again.
    """
    workspace = Workspace.open(folder / "data", configured(folder, scale))
    load_source(source, workspace.lake, LoadOptions(world=scale.world, config=workspace.config))
    chain = {name: stage for name, stage in stages().items() if name in STAGES}
    with quiet():
        for _ in DemoRun(workspace).run(chain, lambda _: lambda what, done, total: None):
            pass
    return workspace


@contextmanager
def copied(workspace: Workspace) -> Iterator[Workspace]:
    """Yield a copy to post events to, so that the world stays as it was made."""
    with tempfile.TemporaryDirectory(dir=workspace.data_dir.parent) as folder:
        target = Path(folder) / "data"
        shutil.copytree(workspace.data_dir, target)
        yield Workspace.open(target, workspace.config_path)
    workspace.export()


def quantile_rows(case: str, ours: np.ndarray, peer: np.ndarray | None, peer_name: str | None) -> list[Row]:
    """Return a row per quantile, in milliseconds."""
    return [
        Row(
            case,
            name,
            "ms",
            float(np.quantile(ours, q)),
            None if peer is None else float(np.quantile(peer, q)),
            peer_name,
        )
        for name, q in QUANTILES.items()
    ]


def of_thirty(path: RequestPath, users: list[int], items: tuple[int, ...]) -> RequestPath:
    """Return the path with a model of 30 features and 300 trees of 63 leaves: ten each of user, item and pair."""
    import lightgbm

    known = [column for column in path.model.manifest.encoding.columns if column.kind == "number"]
    kinds = {"user_": [], "item_": [], "": []}
    for column in known:
        next(names for prefix, names in kinds.items() if column.name.startswith(prefix)).append(column)
    chosen = [column for columns in kinds.values() for column in columns[:: max(len(columns) // 10, 1)][:10]]
    keys = {
        USER: pa.array(np.repeat(users[:20], len(items))),
        ITEM: pa.array(np.tile(items, len(users[:20]))),
    }
    now = ServingClock(path.workspace).now()
    matrix = path.reader.read([column.name for column in chosen], keys, now).matrix(
        [c.name for c in chosen], np.float32
    )
    rng = np.random.default_rng(0)
    noisy = np.nan_to_num(matrix) @ rng.normal(size=len(chosen)) + rng.normal(size=len(matrix))
    params = {"num_leaves": 63, "min_data_in_leaf": 20, "num_threads": 1, "verbosity": -1, "seed": 0}
    booster = lightgbm.train(params, lightgbm.Dataset(matrix, np.argsort(np.argsort(noisy))), 300)
    manifest = replace(path.model.manifest, encoding=Encoding(tuple(chosen)))
    model = replace(path.model, manifest=manifest, booster=booster)
    model.scorer.warm_up()
    return replace(path, model=model, columns=ModelColumns.of(model), proposers={})


def request_cases(path: RequestPath, users: list[int], scale: Scale) -> tuple[list[Row], np.ndarray]:
    """Measure whole requests beside `predict` on what they scored; also return the times of /recommend's path."""
    clock = ServingClock(path.workspace)
    items = tuple(np.random.default_rng(0).permutation(path.catalogue.items.to_numpy())[:CANDIDATES].tolist())
    brought = [Ask(user, K, items=items) for user in users]
    cases = {
        "in-process 500": (of_thirty(path, users, items), brought),
        "recommend": (path, [Ask(user, K) for user in users]),
        f"rank {len(items)}": (path, brought),
    }
    rows, taken = [], {}
    for case, (own, asks) in cases.items():
        scored = [own.answer(ask, clock.now())[1] for ask in asks[:20]]
        matrices = [one.matrix[~np.isnan(one.scores)] for one in scored if one is not None]
        ours = milliseconds(lambda i, own=own, asks=asks: own.answer(asks[i % len(asks)], clock.now()), scale.requests)
        alone = milliseconds(predict_alone(own, matrices), scale.requests)
        taken[case] = ours
        rows += quantile_rows(case, ours, alone, "predict alone")
        rows.append(Row(case, "candidates", "items", float(np.median([len(matrix) for matrix in matrices]))))
    return rows, taken["recommend"]


def predict_alone(path: RequestPath, matrices: list[np.ndarray]) -> Callable[[int], np.ndarray]:
    """Return LightGBM's own scoring of these matrices in turn, on one thread."""
    booster = path.model.booster
    return lambda number: booster.predict(matrices[number % len(matrices)], num_threads=1)


def scored_by(path: RequestPath) -> str:
    """Say what scores a request."""
    return "LightGBM" if path.model.scorer.forest is None else "ranking.trees (LightGBM's trees, the same bits)"


def http_cases(server: Server, users: list[int], in_process: np.ndarray, scale: Scale) -> tuple[list[Row], Load]:
    """Measure one client, then several; also return what the several saw."""
    one = ask_for(server, users, scale.seconds, clients=1)
    many = ask_for(server, users, scale.seconds)
    case = f"HTTP, {CLIENTS} clients, {WORKERS} workers"
    rows = [
        *quantile_rows("HTTP, 1 client", one.milliseconds, in_process, "in process"),
        Row(case, "rate", "requests/s", many.rate, better="higher"),
        *quantile_rows(case, many.milliseconds, None, None),
        Row(case, "errors", "requests", float(one.errors + many.errors)),
    ]
    return rows, many


def turn_cases(server: Server, path: RequestPath, users: list[int], scale: Scale) -> list[Row]:
    """Measure in process and over HTTP in turn, a client at a time: both meet the same machine.

    What a first request of a user costs is in neither: a turn that does not count comes first.
    """
    clock, case, above = ServingClock(path.workspace), "HTTP, 1 client, in turn", []
    asks, rows, repeats = [Ask(user, K) for user in users], [], max(scale.requests // 4, len(users))
    for turn in range(TURNS + 1):
        alone = milliseconds(lambda i: path.answer(asks[i % len(asks)], clock.now()), repeats)
        seen = ask_for(server, users, scale.seconds / 3, clients=1)
        if turn:
            ours, peer = float(np.median(seen.milliseconds)), float(np.median(alone))
            rows.append(Row(case, f"p50, turn {turn}", "ms", ours, peer, "in process"))
            above.append(ours - peer)
    return [*rows, Row(case, "p50 above in process, median", "ms", float(np.median(above)))]


def load_cases(server: Server, users: list[int], rate: float, minutes: float) -> list[Row]:
    """Ask at a steady rate for minutes: errors, the slowest, and how much larger the server became."""
    ask_for(server, users, min(10.0, minutes * 6), rate=rate)
    before = server.megabytes()
    seen = ask_for(server, users, minutes * 60, rate=rate)
    growth = 100 * (server.megabytes() / before - 1)
    case = f"load, {minutes:g} min at 80%"
    return [
        Row(case, "rate", "requests/s", seen.rate, better="higher"),
        *quantile_rows(case, seen.milliseconds, None, None),
        Row(case, "errors", "requests", float(seen.errors)),
        Row(case, "memory before", "MB", before),
        Row(case, "growth", "%", growth),
    ]


def served_cases(path: RequestPath, users: list[int], in_process: np.ndarray, options: Options) -> list[Row]:
    """Everything that is asked over HTTP."""
    scale, workspace = options.scale, path.workspace
    targets = workspace.lake.roles(workspace.config).targets
    event_type = max(targets, key=targets.__getitem__)
    with copied(workspace) as own, serving(own) as server:
        turns = turn_cases(server, path, users, scale)
        rows, many = http_cases(server, users, in_process, scale)
        rows += turns
        if options.minutes:
            rows += load_cases(server, users, 0.8 * many.rate, options.minutes)
        effect = np.array(effect_of_events(server, users[: scale.events], event_type))
    return rows + quantile_rows("events, post to effect", effect, None, None)


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    scale: Scale
    quick: bool
    minutes: float
    source: Path | None = None
    only_turns: bool = False


def measure(folder: Path, options: Options) -> tuple[list[Row], list[str]]:
    """Return the rows of every case, and notes about the run."""
    workspace = made(folder, options.scale)
    path = RequestPath.open(workspace)
    path.warm_up()
    settle()
    users: list[Any] = np.random.default_rng(1).permutation(all_users(workspace).to_numpy())[:100].tolist()
    if options.only_turns:
        with copied(workspace) as own, serving(own) as server:
            return turn_cases(server, path, users, options.scale), []
    rows, in_process = request_cases(path, users, options.scale)
    notes = [
        f"{path.model.booster.num_trees()} trees on {len(path.columns.names)} columns that they split on.",
        f"Requests are scored by {scored_by(path)}; `predict alone` is LightGBM's.",
    ]
    rows += served_cases(path, users, in_process, options)
    trees = None if options.quick else path.model.booster.num_trees()
    rows += batch_cases(workspace, "recommend --all", K, trees)
    if options.source:
        other = made(folder.parent / options.source.name, options.scale, str(options.source))
        trees = RequestPath.open(other).model.booster.num_trees()
        rows += batch_cases(other, f"recommend --all, {options.source.name}", K, trees)
    rows += online_store.measure(quick=options.quick)
    if serve_redis.missing():
        notes.append(f"read 500, redis: not run, {serve_redis.missing()}.")
    return rows, notes


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench serve", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="a smaller world, less repeats")
    parser.add_argument("--minutes", type=float, default=0.0, help="also a load test of so many minutes")
    parser.add_argument("--log", type=Path, help="a data set to write everyone's list for, too")
    parser.add_argument("--only-turns", action="store_true", help="in process and over HTTP in turn, nothing else")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    options = Options(QUICK if chosen.quick else FULL, chosen.quick, chosen.minutes, chosen.log, chosen.only_turns)
    folder = data_dir() / "bench" / "serve" / ("quick" if chosen.quick else "full")
    rows, notes = measure(folder, options)
    show("serve", rows, notes)
    if chosen.json:
        write_json(rows, chosen.json)


if __name__ == "__main__":
    main()
