"""Drift: how far the rows that a model serves lie from the rows that it was trained on, column by column.

Training writes a reference beside the model: the distribution of every column. PSI compares shares of ten bins of equal
mass (nulls are a bin of their own), KS the largest distance of the two cumulative distributions (nulls come first).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from feature_repo.config import DriftConfig

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace

ROWS: Final = 100_000
BINS: Final = 10
POINTS: Final = 100
# A bin that is empty on one side counts as this share: its logarithm stays finite.
LEAST_SHARE: Final = 1e-4


@dataclass(frozen=True)
class Distribution:
    """One column as shares of all its rows: `null` of them are null.

    `points` ascend, distinct: every value, or quantiles where there are more than 100. `under[i]`, `below[i]`: null, or
    less than `points[i]`, or at most that. `bins`: places in `points` that end the bins of PSI.
    """

    points: list[float]
    under: list[float]
    below: list[float]
    bins: list[int]
    null: float


@dataclass(frozen=True)
class Reference:
    """The columns of a training set as distributions; `rows` were looked at."""

    rows: int
    columns: dict[str, Distribution]

    def to_json(self) -> str:
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Reference:
        raw = json.loads(text)
        return cls(raw["rows"], {name: Distribution(**column) for name, column in raw["columns"].items()})


@dataclass(frozen=True)
class Shift:
    """How far one column has moved; `null_then`, `null_now` are shares of rows."""

    name: str
    psi: float
    ks: float
    null_then: float
    null_now: float

    def exceeds(self, limits: DriftConfig) -> bool:
        return self.psi > limits.psi or self.ks > limits.ks


@dataclass(frozen=True)
class DriftReport:
    """The columns of a model at a cut, the most moved first; `drifted`: how many exceed a threshold."""

    model: str
    cut: str
    rows: int
    drifted: int
    shifts: list[Shift]


def reference(matrix: np.ndarray, names: Sequence[str], *, seed: int = 0) -> Reference:
    """Describe the columns of an encoded training set, float32 (rows, columns); of a large one a seeded sample."""
    sample = _sample(matrix, seed)
    columns = {name: _describe(sample[:, place]) for place, name in enumerate(names)}
    return Reference(len(sample), columns)


def shifts(then: Reference, matrix: np.ndarray, names: Sequence[str]) -> list[Shift]:
    """Compare encoded rows with the reference, the most moved column first."""
    found = [_shift(name, then.columns[name], matrix[:, place]) for place, name in enumerate(names)]
    return sorted(found, key=lambda shift: (-shift.psi, -shift.ks, shift.name))


def measure_drift(workspace: Workspace, *, model: str | None = None, rows: int = 20_000) -> DriftReport:
    """Compare the candidates of the entity table's newest cut with a model's training set (default: the current one's).

    Raises MissingError for a model without a reference, and where nothing was proposed yet.
    """
    from candidate_gen import entity_table
    from feature_repo.columns import ITEM, USER
    from feature_repo.errors import MissingError
    from ranking import model_store
    from ranking.service import service_columns
    from ranking.training_set import read_features, with_cut

    manifest = model_store.read_manifest(workspace, model)
    model_store.check_columns(manifest, service_columns(workspace, manifest.service))
    then = model_store.read_reference(workspace, manifest.name)
    known = entity_table.cuts(workspace)
    if not known:
        raise MissingError(
            workspace.feature_path("candidates"),
            expected="candidates", got="none", fix="Run `rankhouse refresh` first.",
        )  # fmt: skip
    at = known[-1]
    pairs = entity_table.read(workspace, at, [USER, ITEM])
    chosen = np.sort(np.random.default_rng(0).choice(pairs.num_rows, min(rows, pairs.num_rows), replace=False))
    features = read_features(workspace, with_cut(pairs.take(pa.array(chosen)), at), manifest.service)
    found = shifts(then, manifest.encoding.encode(features), manifest.encoding.names)
    drifted = sum(shift.exceeds(workspace.config.drift) for shift in found)
    return DriftReport(manifest.name, at.isoformat(), len(chosen), drifted, found)


def _sample(matrix: np.ndarray, seed: int) -> np.ndarray:
    if len(matrix) <= ROWS:
        return matrix
    return matrix[np.sort(np.random.default_rng(seed).choice(len(matrix), ROWS, replace=False))]


def _describe(values: np.ndarray) -> Distribution:
    ordered, null = _known(values)
    points = np.unique(ordered)
    if len(points) > POINTS:
        points = np.unique(ordered[np.linspace(0, len(ordered) - 1, POINTS).astype(int)])
    under, below = _sums(ordered, points, len(values))
    levels = null + (1.0 - null) * np.arange(1, BINS) / BINS
    ends = np.unique(np.searchsorted(below, levels - 1e-9))
    # Through text: the shortest decimal that is this float32 keeps the file small and reads back exactly.
    texts = [float(str(point)) for point in points]
    return Distribution(texts, under.tolist(), below.tolist(), ends[ends < len(points)].tolist(), null)


def _known(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the values that are not null, ascending, and the share of nulls."""
    ordered = np.sort(values[~np.isnan(values)]).astype(np.float32)
    return ordered, round(1.0 - len(ordered) / max(len(values), 1), 6)


def _sums(ordered: np.ndarray, points: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of rows that are null or less than each point, and null or at most each point."""
    nulls = rows - len(ordered)
    counts = (nulls + np.searchsorted(ordered, points, side=side) for side in ("left", "right"))
    under, below = ((count / max(rows, 1)).round(6) for count in counts)
    return under, below


def _shift(name: str, then: Distribution, values: np.ndarray) -> Shift:
    ordered, null = _known(values)
    under, below = _sums(ordered, np.array(then.points, np.float32), len(values))
    gaps = [abs(null - then.null), *np.abs(under - then.under), *np.abs(below - then.below)]
    expected = _shares(then.null, np.array(then.under), np.array(then.below), then.bins)
    actual = _shares(null, under, below, then.bins)
    psi = float(((actual - expected) * np.log(actual / expected)).sum())
    return Shift(name, psi, float(max(gaps)), then.null, null)


def _shares(null: float, under: np.ndarray, below: np.ndarray, bins: list[int]) -> np.ndarray:
    """Return the shares of the bins: nulls, what is less than every point, the bins, what is more."""
    sums = np.concatenate([[0.0, null], under[:1], below[bins], [1.0]])
    return np.maximum(np.diff(sums), LEAST_SHARE)
