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
    user, time = interactions.user[latest.events], interactions.time[latest.events]
    first = latest.first[user]
    position = np.arange(len(user)) - first
    weight = interactions.weight[latest.events] * np.power(position_decay, position)
    if half_life_days is not None:
        weight *= np.exp2((time - time[first]) / (DAY * half_life_days))
    if last is not None:
        weight[position >= last] = 0
    entries = np.empty(len(weight), np.float32)
    entries[latest.entry] = weight
    kept = entries > 0
    indptr = np.append(0, np.cumsum(kept))[latest.first]
    return sparse.csr_array((entries[kept], latest.items[kept], indptr), shape=interactions.shape)
