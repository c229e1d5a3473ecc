"""Lists for many users at once: what a single request would answer, read and scored some users at a time.

Between the compiled loops and the reads lie thousands of short calls, for which threads would wait for each other: so
processes share the users, where model and store stand a fork.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from candidate_gen.pipeline import Progress, silent
from feature_repo.columns import ITEM, RANK, SCORE, USER
from feature_repo.errors import DataError
from ranking.serving.forked import forked
from ranking.serving.path import RequestPath, arranged, check_k, filtered
from ranking.serving.pool import Pool
from ranking.serving.request import Ask
from ranking.serving.retrieve import Retrieved

if TYPE_CHECKING:
    from feature_repo.stores.packed_answer import Answer
    from feature_repo.workspace import Workspace

FIRST_USERS: Final = 16
"""So many are done before the processes part: enough that every loop is compiled by then."""
USERS_AT_ONCE: Final = 96
ROWS_AT_ONCE: Final = 1 << 14
"""So many rows of the matrix are scored at a time: larger ones are given back to the system and asked for again."""
_USERS: Final = f"SELECT {USER} FROM events UNION SELECT {USER} FROM users ORDER BY {USER}"


@dataclass(frozen=True)
class UserRows:
    """One user's rows of an answer for many; what a Pool reads of an answer."""

    columns: _Columns
    start: int
    rows: int

    def array(self, name: str) -> pa.Array:
        return self.columns.array(name).slice(self.start, self.rows)


@dataclass
class _Columns:
    """Columns of an answer, decoded once."""

    answer: Answer
    _arrays: dict[str, pa.Array] = field(default_factory=dict)

    def array(self, name: str) -> pa.Array:
        if name not in self._arrays:
            self._arrays[name] = self.answer.array(name)
        return self._arrays[name]


def all_users(workspace: Workspace) -> pa.Array:
    """Return every user of the lake, ascending."""
    with workspace.connect() as connection:
        return connection.sql(_USERS).to_arrow_table()[USER].combine_chunks()


def recommend_many(
    path: RequestPath, users: pa.Array, k: int, now: datetime, *, workers: int = 1, progress: Progress = silent
) -> Iterator[pa.Table]:
    """Yield user_id, item_id, rank (int32 from 1), score (float64) of some users at a time, in the order of `users`.

    Lists and scores are those of `RequestPath.answer`, whatever the number of workers: processes, or threads where the
    path does not stand a fork. Few batches are held. Raises DataError for a k out of range and for a rule that needs a
    request's context.
    """
    check_k(k, path.most_k())
    _check_context(path)
    begins = [0, *range(FIRST_USERS, len(users), USERS_AT_ONCE)] if len(users) else []
    parts = [users.slice(start, end - start) for start, end in pairwise([*begins, len(users)])]
    shared = forked if hasattr(os, "fork") and path.reader.forks and path.model.scorer.forks else _threaded
    lists = partial(_lists, path, k=k, now=now)
    # What the first part opens and compiles, forked processes have from their start.
    first, rest = parts[:1], parts[1:]
    workers = min(workers, len(rest))
    tables = map if workers <= 1 else partial(shared, workers=workers)
    done = 0
    for part, table in zip(parts, chain(map(lists, first), tables(lists, rest)), strict=True):
        progress("recommend", done, len(users))
        done += len(part)
        yield table
    progress("recommend", len(users), len(users))


def _threaded(work: Callable[[pa.Array], pa.Table], parts: Sequence[pa.Array], workers: int) -> Iterator[pa.Table]:
    """Yield `work(part)` of each part in order; at most `workers` + 1 tables are held."""
    waiting: deque[Future[pa.Table]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for part in parts:
            waiting.append(pool.submit(work, part))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _lists(path: RequestPath, users: pa.Array, k: int, now: datetime) -> pa.Table:
    settings = path.workspace.config.serving.order
    asks = [Ask(user, k) for user in users.to_pylist()]
    found = path.retrieved(asks, settings, now)
    sizes = np.array([len(one.items) for one in found])
    items = pa.concat_arrays([one.items for one in found])
    entities = {USER: users.take(pa.array(np.repeat(np.arange(len(users)), sizes))), ITEM: items}
    answer = path.reader.read(path.wanted, entities, now)
    whole = Pool(items, {}, answer, now, {})
    kept, _ = filtered(whole, path.rules)
    scores = _scores(path, answer, kept, found)
    columns, starts = _Columns(answer), np.cumsum(sizes) - sizes
    chosen = []
    for ask, one, start, size in zip(asks, found, starts.tolist(), sizes.tolist(), strict=True):
        pool = Pool(one.items, one.origins, UserRows(columns, start, size), now, {})
        own = slice(start, start + size)
        shown = arranged(pool, np.flatnonzero(kept[own]), scores[own], ask, settings, path.order, path.rules)
        chosen.append(shown + start)
    return _table(entities, scores, chosen)


def _scores(path: RequestPath, answer: Answer, kept: np.ndarray, found: Sequence[Retrieved]) -> np.ndarray:
    """Return the model's scores, and how popular an item is for users of whom nothing is online."""
    unknown = np.repeat([one.popularity is not None for one in found], [len(one.items) for one in found])
    wanted, scores = kept & ~unknown, np.empty(len(kept))
    # Parts of about one size: none is so small that its rows would not be worth a loop of their own.
    bounds = np.linspace(0, len(kept), -(-len(kept) // ROWS_AT_ONCE) + 1).astype(np.int64).tolist()
    for start, end in pairwise(bounds):
        matrix = path.columns.matrix(answer.part(start, end - start))
        scores[start:end] = path.score(matrix, wanted[start:end])
    if unknown.any():
        scores[unknown] = np.concatenate([one.popularity for one in found if one.popularity is not None])
    return scores


def _table(entities: dict[str, pa.Array], scores: np.ndarray, chosen: Sequence[np.ndarray]) -> pa.Table:
    rows = np.concatenate(chosen)
    ranks = np.concatenate([np.arange(1, len(shown) + 1, dtype=np.int32) for shown in chosen])
    columns = {name: values.take(pa.array(rows)) for name, values in entities.items()}
    return pa.table({**columns, RANK: ranks, SCORE: scores[rows]})


def _check_context(path: RequestPath) -> None:
    for name, rule in path.rules:
        if rule.context:
            raise DataError(
                f"rule {name}",
                expected="rules that need no context: there is no request here",
                got=f"the context field {rule.context[0]!r}",
                fix="Give the rule a `value`, in a configuration of its own: --config FILE.",
            )
