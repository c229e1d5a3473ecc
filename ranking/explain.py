"""Why a score is what it is: SHAP contributions, gains, and both summed per family of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from ranking.families import columns_by_family, family
from ranking.model_store import RankingModel

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

SAMPLE_ROWS: Final = 20_000


@dataclass(frozen=True)
class Contributions:
    """What each column adds to each score: score = base + the sum of the row, up to rounding.

    `values` float64 (rows, columns); `base` float64 (rows,): the score of a row of which nothing is known; `names` and
    `families` per column.
    """

    names: tuple[str, ...]
    families: tuple[str, ...]
    values: np.ndarray
    base: np.ndarray

    def by_family(self) -> dict[str, np.ndarray]:
        """Return the sum of each family's columns per row, float64 (rows,)."""
        places = columns_by_family(self.names, dict(zip(self.names, self.families, strict=True)))
        return {name: self.values[:, columns].sum(axis=1) for name, columns in places.items()}

    def largest(self, row: int, most: int = 5) -> list[tuple[str, float]]:
        """Return the columns that move one row's score most, in either direction, and by how much."""
        order = np.argsort(-np.abs(self.values[row]), kind="stable")[:most]
        return [(self.names[place], float(self.values[row, place])) for place in order]


def contributions(model: RankingModel, features: pa.Table) -> Contributions:
    """Explain the scores that a model gives to rows of its service's features (LightGBM's own SHAP values)."""
    return _contributions(model, model.manifest.encoding.encode(features))


@dataclass(frozen=True)
class Weight:
    """What one column, or one family, weighs in a model: both are shares of the whole that sum to 1.

    `gain`: how much its splits reduced the loss in training; `shap`: its mean absolute contribution to a score.
    """

    name: str
    family: str
    gain: float
    shap: float


@dataclass(frozen=True)
class Importance:
    """The weights of a model's columns and families, each heaviest first; `rows`: how many scores were explained."""

    model: str
    rows: int
    families: list[Weight]
    columns: list[Weight]


def importance(workspace: Workspace, name: str | None = None, *, rows: int = SAMPLE_ROWS) -> Importance:
    """Weigh the columns of a model (default: the current one) on candidates of the validation cut.

    Raises MissingError where candidates or features of that cut are not there, ContractError for a changed service.
    """
    from candidate_gen import entity_table
    from feature_repo.columns import ITEM, USER
    from ranking import model_store
    from ranking.service import service_columns
    from ranking.training_set import read_features, with_cut

    manifest = model_store.read_manifest(workspace, name)
    model = model_store.load(workspace, service_columns(workspace, manifest.service), manifest.name)
    cut = workspace.periods.validation.start
    pairs = entity_table.read(workspace, cut, [USER, ITEM])
    chosen = np.random.default_rng(0).choice(pairs.num_rows, min(rows, pairs.num_rows), replace=False)
    sample = with_cut(pairs.take(pa.array(np.sort(chosen))), cut)
    return weigh(model, manifest.encoding.encode(read_features(workspace, sample, manifest.service)))


def weigh(model: RankingModel, matrix: np.ndarray) -> Importance:
    """Weigh the columns of a model by its trees and by the scores of encoded rows."""
    explained = _contributions(model, matrix)
    gains, moves = _shares(model.gains()), _shares(np.abs(explained.values).mean(axis=0))
    places = columns_by_family(explained.names, model.manifest.families)
    summed = _shares(np.array([np.abs(values).mean() for values in explained.by_family().values()]))
    families = [
        Weight(name, name, float(gains[columns].sum()), float(share))
        for (name, columns), share in zip(places.items(), summed, strict=True)
    ]
    columns = [
        Weight(name, group, float(gain), float(move))
        for name, group, gain, move in zip(explained.names, explained.families, gains, moves, strict=True)
    ]
    return Importance(model.manifest.name, len(matrix), _heaviest(families), _heaviest(columns))


def _contributions(model: RankingModel, matrix: np.ndarray) -> Contributions:
    names = model.manifest.encoding.names
    values = model.contributions(matrix)
    groups = tuple(family(name, model.manifest.families) for name in names)
    return Contributions(tuple(names), groups, values[:, :-1], values[:, -1])


def _shares(values: np.ndarray) -> np.ndarray:
    total = values.sum()
    return values / total if total > 0 else np.zeros(len(values))


def _heaviest(weights: Sequence[Weight]) -> list[Weight]:
    return sorted(weights, key=lambda weight: (-weight.shap, -weight.gain, weight.name))
