"""Cases that need the training set read again: other negatives, label horizons and split points, a stale first stage.

Stage one is not fitted again: a split point is one of the cuts that are there, and a longer horizon finds the labels of
those users alone who were asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from candidate_gen import entity_table
from feature_repo.columns import CONSUMING, ITEM, TARGET_WEIGHT, TIME, USER
from feature_repo.config import Config, NegativesConfig
from feature_repo.periods import Periods, Window
from feature_repo.workspace import Workspace
from ranking.ablation_cases import Case, Cases
from ranking.ranker import Judge
from ranking.subsets import some_candidates, some_examples
from ranking.train import Materials, make_judge, of_users, read_materials
from ranking.training_set import read_features, with_cut
from ranking.truth import read_validation

if TYPE_CHECKING:
    import duckdb

SCHEMES: Final[dict[str, dict[str, float]]] = {
    "candidates alone": {"candidates": 1.0},
    "random items alone": {"random": 1.0},
    "popular items alone": {"popular": 1.0},
    "impressions alone": {"impressions": 1.0},
    "candidates and random items": {"candidates": 0.5, "random": 0.5},
}
_PASSIVE: Final = f"SELECT count(*) FROM events WHERE {TARGET_WEIGHT} = 0"
_UNSEEN: Final = f"""
SELECT {USER}, {ITEM} FROM candidate ANTI JOIN
    (SELECT {USER}, {ITEM} FROM events WHERE {TIME} >= $start AND {TIME} < $end AND {CONSUMING} AND NOT $repeats)
USING ({USER}, {ITEM}) ORDER BY {USER}, {ITEM}"""


def by_negatives(workspace: Workspace, materials: Materials, families: dict[str, str]) -> Cases:
    """Every scheme of negatives that the log allows, and all candidates where the configuration samples them."""
    ranker = workspace.config.ranker
    with workspace.connect() as connection:
        [(passive,)] = connection.execute(_PASSIVE).fetchall()
    for name, shares in SCHEMES.items():
        negatives = NegativesConfig(**shares)
        if negatives != ranker.negatives and (passive or not negatives.impressions):
            yield _again(workspace, "negatives", name, {"negatives": negatives})
    if ranker.negatives_per_user is not None:
        every = {"negatives": NegativesConfig(candidates=1.0), "negatives_per_user": None}
        yield _again(workspace, "negatives", "every candidate, none sampled", every)


def by_horizon(workspace: Workspace, materials: Materials, families: dict[str, str]) -> Cases:
    """Labels of training cuts that reach half as far, and as far as the validation window."""
    periods = workspace.periods
    half = tuple(Window(window.start, window.start + (window.end - window.start) / 2) for window in periods.train)
    whole = tuple(Window(window.start, periods.validation.start) for window in periods.train)
    for name, windows in (("labels that reach half as far", half), ("labels up to the validation window", whole)):
        if windows != periods.train:
            other = with_periods(workspace, workspace.config, replace(periods, train=windows))
            yield Case("horizon", name, lambda other=other: read_materials(other), workspace.config.ranker)


def by_split(workspace: Workspace, materials: Materials, families: dict[str, str]) -> Cases:
    """Every split point that has a training cut before it, the configured one last; each against its best source."""
    for other in split_points(workspace):
        start, cuts = other.periods.validation.start, len(other.periods.train)
        name = f"validation from {start:%Y-%m-%d}, {cuts} cut{'s' * (cuts > 1)}"

        def make(other: Workspace = other) -> Materials:
            return materials if other is workspace else read_proposed(other)

        yield Case("split", name, make, workspace.config.ranker, against="the best single source")


def split_points(workspace: Workspace) -> list[Workspace]:
    """Return the same data split at every training cut that has one before it; the last is the workspace itself."""
    periods = workspace.periods
    starts = [*(window.start for window in periods.train), periods.validation.start]
    found = []
    for place in range(1, len(periods.train)):
        validation = Window(starts[place], starts[place + 1])
        train = tuple(_window(workspace.config, start, validation) for start in starts[:place])
        found.append(
            with_periods(workspace, workspace.config, Periods(train, validation, Window(validation.end, workspace.now)))
        )
    return [*found, workspace]


def by_refit(workspace: Workspace, materials: Materials, families: dict[str, str]) -> Cases:
    """What a refit is worth: of the ranker with the newest label window, of first stage and features at the cut."""
    ranker, last = workspace.config.ranker, int(materials.cuts.max())
    if last:
        rows = (materials.cuts < last)[materials.train.groups.number()]

        def earlier() -> Materials:
            return replace(materials, train=some_examples(materials.train, rows))

        yield Case("refit", "the ranker without the newest label window", earlier, ranker)

    def lists(read: Materials) -> Judge:
        return stale_judge(workspace, read)

    name = "first stage and features one cut old"
    yield Case("refit", name, lambda: materials, ranker, lists, "everything, for the same users")


def stale_judge(workspace: Workspace, materials: Materials) -> Judge:
    """Return the validation window with the candidates and features of the last training cut.

    Users whom nobody asked for at that cut are not in it. What was consumed since is left out, as serving would do.
    """
    cut, validation = workspace.periods.train[-1].start, workspace.periods.validation
    users = pa.chunked_array([materials.judge.user_ids])
    rows = entity_table.read(workspace, cut, [USER, ITEM, "sources_count"])
    rows = of_users(rows.filter(pc.is_valid(rows["sources_count"])), materials.judge.user_ids).select([USER, ITEM])
    with workspace.connect() as connection:
        window = Window(cut, validation.start)
        rows = _unseen(connection, rows, window, repeats=workspace.allow_repeats)
        truth = read_validation(workspace, connection, users)
    features = read_features(workspace, with_cut(rows, cut), workspace.config.service)
    return make_judge(materials.encoding.encode(features), rows, truth)


def _unseen(connection: duckdb.DuckDBPyConnection, rows: pa.Table, window: Window, *, repeats: bool) -> pa.Table:
    connection.register("candidate", rows)
    times = {"start": window.start, "end": window.end, "repeats": repeats}
    found = connection.sql(_UNSEEN, params=times).to_arrow_table()
    connection.unregister("candidate")
    return found


def _again(workspace: Workspace, kind: str, name: str, changes: dict[str, object]) -> Case:
    config = workspace.config.model_copy(update={"ranker": workspace.config.ranker.model_copy(update=changes)})
    other = with_periods(workspace, config, workspace.periods)
    return Case(kind, name, lambda: read_materials(other), config.ranker)


def with_periods(workspace: Workspace, config: Config, periods: Periods) -> Workspace:
    """Return the same data directory with another configuration and these periods, whatever its split says."""
    other = Workspace(workspace.data_dir, config, workspace.config_path)
    vars(other)["periods"] = periods  # where its cached property keeps them
    return other


def _window(config: Config, start: object, validation: Window) -> Window:
    """Return a training window before another validation window, as far as the configured horizon allows."""
    horizon = config.split.horizon_days
    if horizon is None:
        return Window(start, validation.start)
    reach = validation.end - validation.start if horizon == "validation" else timedelta(days=horizon)
    return Window(start, min(validation.start, start + reach))


def read_proposed(workspace: Workspace) -> Materials:
    """Read materials whose validation cut may be a training cut otherwise: pairs that nobody proposed are left out."""
    materials = read_materials(workspace)
    sources = list(workspace.config.candidates.sources)
    columns = [materials.encoding.names.index(f"{name}_proposed") for name in sources]
    kept = (materials.judge.matrix[:, columns] > 0).any(axis=1)
    return replace(materials, judge=some_candidates(materials.judge, kept))


def best_source(judge: Judge, names: Sequence[str], sources: Sequence[str]) -> tuple[str, np.ndarray]:
    """Return the source whose own ranking is best on a judge's lists, and its NDCG@10 per group."""
    place = {name: number for number, name in enumerate(names)}
    found = {}
    for source in sources:
        proposed, rank = (judge.matrix[:, place[f"{source}_{what}"]] for what in ("proposed", "rank"))
        found[source] = judge.per_group(np.where(proposed > 0, -rank, -np.inf))
    best = max(found, key=lambda source: found[source].sum())
    return best, found[best]
