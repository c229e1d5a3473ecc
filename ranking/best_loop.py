"""The loop that picks the best rows of every group, in machine code: it looks at each score once, and sorts none.

Whoever calls it imports this module where it is called: a process compiles it once.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit, types

_LEAST: Final = -np.inf
_scores, _sizes = (types.Array(kind, 1, "C", readonly=True) for kind in (types.float64, types.int64))


@njit(types.void(_scores, _sizes, types.int64[:, ::1]), nogil=True)
def fill_best(scores, sizes, out):
    """Write the numbers of the best rows of each group to `out` (groups, k), best first; what is left stays as it was.

    Equal scores keep row order; rows that score minus infinity or NaN are not written.
    """
    first, wanted = 0, out.shape[1]
    for group in range(len(sizes)):
        held = 0
        for row in range(first, first + sizes[group]):
            score = scores[row]
            if not score > _LEAST or (held == wanted and not score > scores[out[group, wanted - 1]]):
                continue
            place = min(held, wanted - 1)
            while place and score > scores[out[group, place - 1]]:
                out[group, place] = out[group, place - 1]
                place -= 1
            out[group, place] = row
            held = min(held + 1, wanted)
        first += sizes[group]
