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
    latest = interactions.latest_targets
    user, item, first = interactions.user[latest], interactions.item[latest], interactions.first_latest
    position = np.arange(len(user)) - first[user]
    weight = interactions.weight[latest] * np.power(position_decay, position)
    if half_life_days is not None:
        time = interactions.time[latest]
        weight *= np.exp2((time - time[first[user]]) / (DAY * half_life_days))
    kept = (weight > 0) & (position < (len(user) if last is None else last))
    entries = (weight[kept].astype(np.float32), (user[kept], item[kept]))
    matrix = sparse.coo_array(entries, shape=interactions.shape).tocsr()
    matrix.sort_indices()
    return matrix
