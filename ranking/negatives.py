"""Which pairs a ranker learns to rank low: candidates, random items, popular items, impressions that came to nothing.

Only training cuts, and the validation cut in its role as one more of them, are sampled; lists that are judged or served
never are. A drawn pair is known by the store like any other: one that is no candidate has null candidate columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from candidate_gen.interactions import encode
from feature_repo.columns import CONSUMING, ITEM, LABEL, TARGET_WEIGHT, TIME, USER
from feature_repo.config import RankerConfig
from feature_repo.periods import Window
from ranking.order import Groups, place_in_groups
from ranking.training_set import Spine, rows_to_learn, with_cut

if TYPE_CHECKING:
    import duckdb

# So many draws for one that is wanted, and some more: some hit what is taken or was drawn before.
_DRAWS: Final = 4
_MORE: Final = 16

_CATALOGUE: Final = f"""
SELECT {ITEM}, CAST(count(*) FILTER (WHERE {TARGET_WEIGHT} > 0) AS DOUBLE) AS popularity
FROM events WHERE {TIME} < $start GROUP BY {ITEM} ORDER BY {ITEM}"""
_TAKEN: Final = f"""
SELECT DISTINCT {USER}, {ITEM} FROM events SEMI JOIN learner USING ({USER})
WHERE ({TIME} >= $start AND {TIME} < $end AND {TARGET_WEIGHT} > 0) OR (NOT $repeats AND {TIME} < $start AND {CONSUMING})
ORDER BY {USER}, {ITEM}"""
_SHOWN: Final = f"""
SELECT DISTINCT {USER}, {ITEM} FROM events SEMI JOIN learner USING ({USER})
WHERE {TIME} >= $start AND {TIME} < $end AND {TARGET_WEIGHT} = 0
ORDER BY {USER}, {ITEM}"""
_TOGETHER: Final = f"""
SELECT {USER}, {ITEM}, max({LABEL}) AS {LABEL} FROM (
    SELECT {USER}, {ITEM}, {LABEL} FROM kept UNION ALL SELECT {USER}, {ITEM}, {LABEL} FROM drawn
) GROUP BY {USER}, {ITEM} ORDER BY {USER}, {ITEM}"""


def learned_rows(
    connection: duckdb.DuckDBPyConnection,
    spine: Spine,
    window: Window,
    config: RankerConfig,
    number: int,
    *,
    allow_repeats: bool,
) -> Spine:
    """Return the rows of a window's cut that the ranker is trained on: `rows_to_learn`, negatives by their shares.

    `spine`: every candidate of the cut with its label. A user gets `negatives_per_user` negatives, or as many as there
    are among the user's candidates; a share that runs out of pairs, or draws what another one has, gives fewer. Nothing
    is drawn that is a label of the window, was consumed before it (unless repeats are allowed), or had no event before
    it. `number` sets the cuts' draws apart.
    """
    if config.negatives.only_candidates:
        return spine.filter(rows_to_learn(spine, config, number))
    whole = spine.filter(rows_to_learn(spine, config.model_copy(update={"negatives_per_user": None}), number))
    rng = np.random.default_rng([config.seed, number, 1])
    groups, positive = whole.groups, whole.labels > 0
    available = np.bincount(groups.number(), weights=~positive, minlength=len(groups.sizes))
    total = available if config.negatives_per_user is None else np.full(len(available), config.negatives_per_user)
    wanted = dict(zip(config.negatives.shares, quotas(list(config.negatives.shares.values()), total), strict=True))
    place = place_in_groups(groups, positive, rng.random(len(positive)))
    kept = whole.filter(positive | (place < wanted["candidates"][groups.number()]))
    users = whole.rows[USER].combine_chunks().take(pa.array(groups.starts))
    drawn = _draw(connection, users, window, wanted, rng, allow_repeats=allow_repeats)
    return Spine(_together(connection, kept.rows, drawn, window), spine.lost)


def quotas(shares: list[float], total: np.ndarray) -> np.ndarray:
    """Return how many of `total` (users,) go to each share, int64 (shares, users); they add up to `total`.

    >>> quotas([0.5, 0.25, 0.25], np.array([4, 5])).tolist()
    [[2, 2], [1, 2], [1, 1]]
    """
    bounds = np.rint(np.cumsum([0.0, *shares])[:, None] * total)
    return np.diff(bounds, axis=0).astype(np.int64)


def _draw(
    connection: duckdb.DuckDBPyConnection,
    users: pa.Array,
    window: Window,
    wanted: dict[str, np.ndarray],
    rng: np.random.Generator,
    *,
    allow_repeats: bool,
) -> pa.Table:
    """Return user_id, item_id of what is drawn beside candidates; a pair that two schemes draw is there twice."""
    times = {"start": window.start, "end": window.end}
    connection.register("learner", pa.table({USER: users}))
    catalogue = connection.sql(_CATALOGUE, params={"start": window.start}).to_arrow_table()
    taken = connection.sql(_TAKEN, params={**times, "repeats": allow_repeats}).to_arrow_table()
    shown = connection.sql(_SHOWN, params=times).to_arrow_table()
    connection.unregister("learner")
    items = catalogue[ITEM].combine_chunks()
    forbidden = _cells(taken, users, items)
    proposals = [
        (_even(wanted["random"], len(items), rng), wanted["random"]),
        (_proportional(wanted["popular"], catalogue["popularity"].to_numpy(), rng), wanted["popular"]),
        (rng.permutation(_cells(shown, users, items)), wanted["impressions"]),
    ]
    cells = np.concatenate([first_free(cells, quota, forbidden, len(items)) for cells, quota in proposals])
    user, item = np.divmod(cells, max(len(items), 1))
    return pa.table({USER: users.take(pa.array(user)), ITEM: items.take(pa.array(item))})


def first_free(cells: np.ndarray, quota: np.ndarray, taken: np.ndarray, width: int) -> np.ndarray:
    """Return the first `quota` (users,) cells of each user that are not taken, each once, in the order of `cells`.

    A cell is user times `width` plus item, int64.
    """
    _, first = np.unique(cells, return_index=True)
    distinct = cells[np.sort(first)]
    free = distinct[~np.isin(distinct, taken)]
    free = free[np.argsort(free // max(width, 1), kind="stable")]
    user = free // max(width, 1)
    place = Groups(np.bincount(user, minlength=len(quota))).place()
    return free[place < quota[user]]


def _even(quota: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
    user = _draws(quota)
    return user * width + rng.integers(0, max(width, 1), len(user))


def _proportional(quota: np.ndarray, popularity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw items by their share of the target events; nothing where there were none."""
    bounds = np.cumsum(popularity)
    user = _draws(quota) if len(bounds) and bounds[-1] else np.empty(0, np.int64)
    mark = rng.random(len(user)) * (bounds[-1] if len(bounds) else 0.0)
    return user * len(popularity) + np.searchsorted(bounds, mark, side="right")


def _draws(quota: np.ndarray) -> np.ndarray:
    """Return the position of each draw's user: none for a user who wants none."""
    return np.repeat(np.arange(len(quota)), np.where(quota > 0, quota * _DRAWS + _MORE, 0))


def _cells(pairs: pa.Table, users: pa.Array, items: pa.Array) -> np.ndarray:
    """Return the cells of pairs in own ids; pairs of other items are left out."""
    user, item = (
        encode(pairs[name].combine_chunks(), ids).astype(np.int64) for name, ids in ((USER, users), (ITEM, items))
    )
    return (user * len(items) + item)[(user >= 0) & (item >= 0)]


def _together(connection: duckdb.DuckDBPyConnection, kept: pa.Table, drawn: pa.Table, window: Window) -> pa.Table:
    """Return both as one spine's rows: each pair once, sorted by user, then item."""
    negative = pa.repeat(pa.scalar(0, pa.int32()), drawn.num_rows)
    connection.register("kept", kept.select([USER, ITEM, LABEL]))
    connection.register("drawn", drawn.append_column(LABEL, negative))
    rows = connection.sql(_TOGETHER).to_arrow_table()
    connection.unregister("kept")
    connection.unregister("drawn")
    return with_cut(rows, window.start)
