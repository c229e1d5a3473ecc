"""Drift: how far the rows that a model serves lie from the rows that it was trained on, column by column.

Like is compared with like: all candidates (none sampled by their label, none added) of users who had acted lately, at
the last cut that the model learned from and at the newest one. Training writes the former's distributions beside the
model. Columns that grow with the log, or whose scale is a fit's own, move in a world at rest, too: `drift.ignore`
names them. A few users differ by chance alone, which raises the thresholds. Counts of the last days follow the log's
pace, and that is drift: a model that learned from a busy log has met no items without events. The report gives the pace
at both cuts, so that a log that dries up can be told from a world that changes.

PSI compares shares of ten bins of equal mass (nulls are a bin of their own), KS the largest distance of the two
cumulative distributions (nulls come first).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.columns import ITEM, TIME, USER
from feature_repo.config import DriftConfig

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace
    from ranking.ranker import Judge

ROWS: Final = 100_000
BINS: Final = 10
POINTS: Final = 100
# A bin that is empty on one side counts as this share, of few users as half of one: its logarithm stays finite.
LEAST_SHARE: Final = 1e-4
_EVENTS: Final = f"SELECT count(*) FROM events WHERE {TIME} >= ? AND {TIME} < ?"
_ACTIVE: Final = f"SELECT DISTINCT {USER} FROM events WHERE {TIME} >= ? AND {TIME} < ? ORDER BY {USER}"


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
    """The columns of a training set as distributions; `rows` were looked at.

    They are candidates at `cut` of so many users who had acted in the `days` before it (0: of all users).
    """

    rows: int
    columns: dict[str, Distribution]
    cut: str = ""
    days: float = 0.0
    users: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Reference:
        raw = json.loads(text)
        columns = {name: Distribution(**column) for name, column in raw.pop("columns").items()}
        return cls(**raw, columns=columns)


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
    """The columns of a model at a cut, the most moved first; `drifted`: how many exceed a threshold.

    `reference_cut`: the cut that it is compared with; `days`: at both, only users count who acted so lately (0: all);
    `users`: how many there were then and are now; `pace`: events a day in these days, then and now (0: unknown); `psi`,
    `ks`: the thresholds for so many; `ignored`: columns that the configuration leaves out.
    """

    model: str
    cut: str
    rows: int
    drifted: int
    shifts: list[Shift]
    reference_cut: str
    days: float
    users: tuple[int, int]
    pace: tuple[float, float]
    psi: float
    ks: float
    ignored: list[str]


def reference(matrix: np.ndarray, names: Sequence[str], *, seed: int = 0) -> Reference:
    """Describe the columns of an encoded training set, float32 (rows, columns); of a large one a seeded sample."""
    sample = matrix[sampled(len(matrix), seed)]
    columns = {name: _describe(sample[:, place]) for place, name in enumerate(names)}
    return Reference(len(sample), columns)


def shifts(then: Reference, matrix: np.ndarray, names: Sequence[str], *, least: float = LEAST_SHARE) -> list[Shift]:
    """Compare encoded rows with the reference, the most moved column first; `least`: what an empty bin counts as."""
    found = [_shift(name, then.columns[name], matrix[:, place], least) for place, name in enumerate(names)]
    return sorted(found, key=lambda shift: (-shift.psi, -shift.ks, shift.name))


def training_reference(workspace: Workspace, judge: Judge, names: Sequence[str]) -> Reference:
    """Describe what a model was chosen on, and refitted to: the candidates of the validation cut.

    Of the judged users those count who acted before the cut within as long a time as the window lasts; all of them,
    where none did.
    """
    from ranking.matrices import take_rows

    window = workspace.periods.validation
    days = (window.end - window.start) / timedelta(days=1)
    active = pc.is_in(judge.user_ids, value_set=active_users(workspace, window.start, days))
    kept = active.to_numpy(zero_copy_only=False)[judge.groups.number()]
    if not kept.any():
        days, kept = 0.0, np.ones(len(kept), bool)
    rows = np.flatnonzero(kept)
    described = reference(take_rows(judge.matrix, rows[sampled(len(rows))]), names)
    users = len(np.unique(judge.groups.number()[kept]))
    return Reference(described.rows, described.columns, window.start.isoformat(), days, users)


def active_users(workspace: Workspace, cut: datetime, days: float) -> pa.Array:
    """Return the own ids, ascending, of users with an event in the days before a cut."""
    with workspace.connect() as connection:
        found = connection.sql(_ACTIVE, params=[cut - timedelta(days=days), cut]).to_arrow_table()
    return found[USER].combine_chunks()


def measure_drift(workspace: Workspace, *, model: str | None = None, rows: int = 20_000) -> DriftReport:
    """Compare the candidates of the newest cut with what a model (default: the current one) has learned from.

    Raises MissingError for a model without a reference, and where nothing was proposed yet.
    """
    from ranking import model_store
    from ranking.service import service_columns
    from ranking.training_set import read_features

    manifest = model_store.read_manifest(workspace, model)
    model_store.check_columns(manifest, service_columns(workspace, manifest.service))
    then = model_store.read_reference(workspace, manifest.name)
    at, pairs = _served(workspace, then.days, rows)
    users = then.users, len(pc.unique(pairs[USER]))
    limits = beyond_chance(workspace.config.drift, users)
    matrix = manifest.encoding.encode(read_features(workspace, pairs, manifest.service))
    names = manifest.encoding.names
    ignored = [name for name in names if limits.ignores(name)]
    least = max(LEAST_SHARE, 0.5 / min(users)) if all(users) else LEAST_SHARE
    found = [shift for shift in shifts(then, matrix, names, least=least) if shift.name not in ignored]
    drifted = sum(shift.exceeds(limits) for shift in found)
    return DriftReport(
        model=manifest.name,
        cut=at.isoformat(),
        rows=len(matrix),
        drifted=drifted,
        shifts=found,
        reference_cut=then.cut,
        days=then.days,
        users=users,
        pace=_pace(workspace, then, at),
        psi=limits.psi,
        ks=limits.ks,
        ignored=ignored,
    )


def _pace(workspace: Workspace, then: Reference, now: datetime) -> tuple[float, float]:
    """Return the log's events a day in the days before the reference's cut and before the newest one."""
    if not then.days:
        return 0.0, 0.0
    with workspace.connect() as connection:
        before, lately = (
            connection.execute(_EVENTS, [cut - timedelta(days=then.days), cut]).fetchone()[0] / then.days
            for cut in (datetime.fromisoformat(then.cut), now)
        )
    return before, lately


def beyond_chance(limits: DriftConfig, users: tuple[int, int]) -> DriftConfig:
    """Raise the thresholds by what two draws of so many users from one world differ by: rows of a user are no draws.

    PSI by twice its expectation, KS by its 99% bound; 0 users: unknown, nothing is added.
    """
    if not all(users):
        return limits
    share = sum(1 / count for count in users)
    raised = {"psi": limits.psi + 2 * BINS * share, "ks": min(1.0, limits.ks + 1.63 * share**0.5)}
    return limits.model_copy(update=raised)


def _served(workspace: Workspace, days: float, rows: int) -> tuple[datetime, pa.Table]:
    """Return the newest cut, and of its candidates so many pairs (a seeded sample) of users who acted lately."""
    from candidate_gen import entity_table
    from feature_repo.errors import MissingError
    from ranking.training_set import with_cut

    known = entity_table.cuts(workspace)
    if not known:
        raise MissingError(
            workspace.feature_path("candidates"),
            expected="candidates", got="none", fix="Run `rankhouse refresh` first.",
        )  # fmt: skip
    at = known[-1]
    pairs = entity_table.read(workspace, at, [USER, ITEM])
    if days:
        lately = pairs.filter(pc.is_in(pairs[USER], value_set=active_users(workspace, at, days)))
        pairs = lately if lately.num_rows else pairs
    chosen = np.sort(np.random.default_rng(0).choice(pairs.num_rows, min(rows, pairs.num_rows), replace=False))
    return at, with_cut(pairs.take(pa.array(chosen)), at)


def sampled(rows: int, seed: int = 0) -> np.ndarray:
    """Return the places of the rows that are described, ascending: all, or a seeded sample of many."""
    if rows <= ROWS:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, ROWS, replace=False))


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


def _shift(name: str, then: Distribution, values: np.ndarray, least: float) -> Shift:
    ordered, null = _known(values)
    under, below = _sums(ordered, np.array(then.points, np.float32), len(values))
    gaps = [abs(null - then.null), *np.abs(under - then.under), *np.abs(below - then.below)]
    expected = _shares(then.null, np.array(then.under), np.array(then.below), then.bins, least)
    actual = _shares(null, under, below, then.bins, least)
    psi = float(((actual - expected) * np.log(actual / expected)).sum())
    return Shift(name, psi, float(max(gaps)), then.null, null)


def _shares(null: float, under: np.ndarray, below: np.ndarray, bins: list[int], least: float) -> np.ndarray:
    """Return the shares of the bins: nulls, what is less than every point, the bins, what is more."""
    sums = np.concatenate([[0.0, null], under[:1], below[bins], [1.0]])
    return np.maximum(np.diff(sums), least)
