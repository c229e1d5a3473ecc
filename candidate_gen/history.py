"""What of a user's past still counts: the latest items, fading with time or with position."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from candidate_gen.interactions import DAY, Interactions


def recent_items(
    interactions: Interactions,
    *,
    last: int | None = None,
    half_life_days: float | None = None,
    position_decay: float = 1.0,
) -> sparse.csr_array:
    """Return users x items, float32: one entry per distinct target item of the user.

    An item weighs the label weight of its latest event, times `position_decay` per more recent item of the user, times
    one half per half-life of its age. Ages run from the user's own latest target event: a user who comes back after
    years keeps a history. Items beyond the `last` most recent ones are left out; at one time the smaller id is first.
    """
    users, items = interactions.shape
    targets = np.flatnonzero(interactions.weight > 0)[::-1]
    pair = interactions.user[targets].astype(np.int64) * items + interactions.item[targets]
    distinct, newest = np.unique(pair, return_index=True)
    latest = targets[newest]
    user, item = interactions.user[latest], interactions.item[latest]
    order = np.lexsort((item, -interactions.time[latest], user))
    latest, user, item = latest[order], user[order], item[order]
    first = np.searchsorted(user, np.arange(users))[user]
    position = np.arange(len(user)) - first
    weight = interactions.weight[latest] * np.power(position_decay, position)
    if half_life_days is not None:
        time = interactions.time[latest]
        weight *= np.exp2((time - time[first]) / (DAY * half_life_days))
    kept = (weight > 0) & (position < (len(distinct) if last is None else last))
    entries = (weight[kept].astype(np.float32), (user[kept], item[kept]))
    matrix = sparse.coo_array(entries, shape=interactions.shape).tocsr()
    matrix.sort_indices()
    return matrix
