"""Parameters that must suit the log: half-lives and regularisation, chosen on what lies before the first training cut.

News is old after hours, a favourite book after years; factors of few events need a weaker pull to zero than those of
many. A source keeps what is configured unless its own lists get better with another value, by more than chance, on
windows before the first training cut. No cut sees anything later.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from candidate_gen.configured import configured_sources
from candidate_gen.interactions import Interactions, microseconds, read_interactions
from candidate_gen.pipeline import Progress, silent
from candidate_gen.selection import best
from candidate_gen.source import BATCH, HALF_LIFE, CandidateSource, SourceSkipped, seen_positions
from feature_repo.config import CandidatesConfig

if TYPE_CHECKING:
    import duckdb

    from feature_repo.workspace import Workspace

FILE: Final = "suited_params.json"
RULES: Final = "2"  # another number where this module chooses otherwise: what was kept before is chosen anew
FACTORS: Final = (1 / 5, 5.0, 1 / 30, 30.0, 1 / 200, 200.0)  # what the value as written is multiplied by
FINER: Final = 2.2  # then so many times less and more than what was found
SURE: Final = 2.5  # standard errors: by chance a useless value is better by so much in one case of 160
WINDOWS: Final = ((0.8, 1.0), (0.6, 0.8), (0.4, 0.6))  # quantiles of the target events, the later ones first
ENOUGH_USERS: Final = 500  # earlier windows are looked at only where the later ones judge fewer users
MOST_EVENTS: Final = 100_000  # of a longer log so many events are looked at, whole users drawn by the seed


@dataclass(frozen=True)
class Suited:
    """Values by source and parameter, and the digest of all that they depend on; lies in <data dir>/suited_params.json.

    Sources without such a parameter are not there.
    """

    digest: str
    params: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Holdout:
    """A window of the past to judge by: the log before it, its users (codes) and what was relevant to them.

    `pairs`: int64, ascending, user code times items plus item code.
    """

    log: Interactions
    users: np.ndarray
    pairs: np.ndarray


def with_suited_params(
    workspace: Workspace, connection: duckdb.DuckDBPyConnection, cut: datetime, *, progress: Progress = silent
) -> CandidatesConfig:
    """Return the configured sources with parameters that suit this log; as written where that is configured."""
    config = workspace.config.candidates
    if config.params == "as-written":
        return config
    suited = _chosen(workspace, connection, min(cut, workspace.periods.train[0].start), progress).params
    sources = {
        name: source.model_copy(update={"params": source.params | suited.get(name, {})})
        for name, source in config.sources.items()
    }
    return config.model_copy(update={"sources": sources})


def choose_params(
    log: Interactions, config: CandidatesConfig, *, allow_repeats: bool, progress: Progress = silent
) -> dict[str, dict[str, float]]:
    """Return by source what suits a log, chosen on its windows; as it was where nothing is surely better.

    Of a log that is too long only some users are looked at: enough for half-lives, but their items have too few events
    to tell how factors are regularised.
    """
    some = _some_users(log, config.seed)
    parts = holdouts(some, allow_repeats=allow_repeats, seed=config.seed)
    sources = configured_sources(config)
    chosen = {}
    for number, (name, source) in enumerate(sources.items(), start=1):
        progress(f"parameters of {name}", number, len(sources))
        wanted = [one for one in _wanted(source) if some is log or one == HALF_LIFE]
        depth = config.sources[name].depth

        def judged(source: CandidateSource = source, depth: int = depth) -> np.ndarray:
            return np.concatenate([_ndcg(source, part, depth, allow_repeats=allow_repeats) for part in parts])

        try:
            for parameter in wanted if parts else ():
                _suit(source, parameter, judged)
        except SourceSkipped:
            continue  # the stage says so
        if wanted:
            chosen[name] = {parameter: source.get_params()[parameter] for parameter in wanted}
    return chosen


def _wanted(source: CandidateSource) -> list[str]:
    """Return the parameters to choose: those that suit one log and not another, and that the source uses."""
    return [parameter for parameter in source.suited if source.get_params().get(parameter) is not None]


def _suit(source: CandidateSource, parameter: str, judged: Callable[[], np.ndarray]) -> None:
    """Set a parameter to what is best, as far as that is sure."""
    written = source.get_params()[parameter]

    def judged_at(factor: float) -> np.ndarray:
        source.set_params(**{parameter: written * factor})
        return judged()

    source.set_params(**{parameter: written * best_factor(judged_at)})


def best_factor(judged: Callable[[float], np.ndarray]) -> float:
    """Return by what to multiply a value: 1, or the best of what is surely better; `judged` gives a value per user.

    >>> best_factor(lambda times: np.arange(9) - abs(np.log(times / 11)))
    11.0
    """
    written = judged(1.0)
    found, mean = _best_of(FACTORS, 1.0, written.mean(), written, judged)
    if found != 1.0:
        found, mean = _best_of((found / FINER, found * FINER), found, mean, written, judged)
    return found


def _best_of(
    factors: Iterable[float], found: float, mean: float, written: np.ndarray, judged: Callable[[float], np.ndarray]
) -> tuple[float, float]:
    """Return the best factor and its mean, of the one found so far and of those that are surely better than 1."""
    for factor in factors:
        values = judged(factor)
        if values.mean() > mean and _surely_better(values - written):
            found, mean = factor, values.mean()
    return found, mean


def holdouts(log: Interactions, *, allow_repeats: bool, seed: int) -> list[Holdout]:
    """Return the windows that judge, latest first, until they have enough users; none where nobody can be judged."""
    targets = log.time[log.weight > 0]
    found: list[Holdout] = []
    for low, high in WINDOWS if len(targets) else ():
        start, end = np.quantile(targets, [low, high], method="inverted_cdf")
        stop = end if high < 1 else end + 1
        part = _holdout(log, int(start), int(stop), allow_repeats=allow_repeats, seed=seed)
        found += [part] if len(part.users) else []
        if sum(len(part.users) for part in found) >= ENOUGH_USERS:
            break
    return found


def _holdout(log: Interactions, start: int, end: int, *, allow_repeats: bool, seed: int) -> Holdout:
    """Users with a past and the known items that they took in [start, end), not seen before unless repeats count."""
    past, width = log.time < start, np.int64(log.shape[1])
    inside = (log.time >= start) & (log.time < end) & (log.weight > 0)
    inside &= np.isin(log.user, log.user[past]) & np.isin(log.item, log.item[past])
    pairs = np.unique(log.user[inside] * width + log.item[inside])
    if not allow_repeats:
        seen = past & log.consuming
        pairs = np.setdiff1d(pairs, log.user[seen] * width + log.item[seen])
    users = np.unique(pairs // width)
    if len(users) > ENOUGH_USERS:
        users = np.sort(np.random.default_rng([seed, start]).choice(users, ENOUGH_USERS, replace=False))
    kept = np.isin(pairs // width, users)
    return Holdout(_only(log, past, start), users.astype(np.int32), pairs[kept])


def _ndcg(source: CandidateSource, part: Holdout, depth: int, *, allow_repeats: bool) -> np.ndarray:
    """Return NDCG of each user's list, as deep as the source proposes."""
    source.fit(part.log)
    width = np.int64(part.log.shape[1])
    discounts = 1 / np.log2(np.arange(2, depth + 2))
    ideal = np.append(0.0, np.cumsum(discounts))
    gains = np.zeros(len(part.users))
    for first in range(0, len(part.users), BATCH):
        users = part.users[first : first + BATCH]
        excluded = None if allow_repeats else seen_positions(part.log, users)
        top = best(source.score_batch(users), depth, floor=source.floor, excluded=excluded)
        hit = np.isin(users[top.row] * width + top.item, part.pairs)
        gains[first : first + len(users)] = np.bincount(
            top.row[hit], discounts[top.rank[hit] - 1], minlength=len(users)
        )
    relevant = np.unique(part.pairs // width, return_counts=True)[1]
    return gains / ideal[np.minimum(relevant, depth)]


def _surely_better(difference: np.ndarray) -> bool:
    """Tell whether the mean is above 0 by more than chance; one user proves nothing."""
    if len(difference) < 2:
        return False
    return bool(difference.mean() > SURE * difference.std(ddof=1) / np.sqrt(len(difference)))


def _only(log: Interactions, kept: np.ndarray, as_of: int) -> Interactions:
    """Return the log of some events, as of microseconds since 1970; codes stay as they are."""
    columns = {name: getattr(log, name)[kept] for name in ("user", "item", "time", "weight", "consuming")}
    return replace(log, as_of=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=as_of), **columns)


def _some_users(log: Interactions, seed: int) -> Interactions:
    if len(log.user) <= MOST_EVENTS:
        return log
    order = np.random.default_rng([seed, len(log.user)]).permutation(log.shape[0])
    total = np.cumsum(log.events_per_user[order])
    chosen = order[: max(1, np.searchsorted(total, MOST_EVENTS, side="right"))]
    return _only(log, np.isin(log.user, chosen), microseconds(log.as_of))


def _chosen(workspace: Workspace, connection: duckdb.DuckDBPyConnection, as_of: datetime, progress: Progress) -> Suited:
    """Return what was chosen at this moment of this log before, or choose and keep it."""
    path, digest = workspace.data_dir / FILE, _digest(workspace, as_of)
    if path.exists():
        kept = Suited(**json.loads(path.read_text(encoding="utf-8")))
        if kept.digest == digest:
            return kept
    log = read_interactions(connection, as_of)
    repeats = workspace.allow_repeats
    found = Suited(digest, choose_params(log, workspace.config.candidates, allow_repeats=repeats, progress=progress))
    _write(path, found)
    return found


def _digest(workspace: Workspace, as_of: datetime) -> str:
    roles = workspace.lake.roles(workspace.config).model_dump_json()
    parts = [workspace.lake.fingerprint(), as_of.isoformat(), workspace.config.candidates.model_dump_json(), roles]
    return sha256("\n".join([RULES, *parts, str(workspace.allow_repeats)]).encode()).hexdigest()


def _write(path: Path, found: Suited) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)
