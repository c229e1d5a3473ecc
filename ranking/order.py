"""From scores to lists: the k best rows of every group, the same for early stopping, evaluation and serving."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EMPTY = -1


@dataclass(frozen=True)
class Groups:
    """Runs of rows that compete with each other: `sizes` int64 (groups,), in row order, none of them 0."""

    sizes: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        return np.cumsum(self.sizes) - self.sizes

    def number(self) -> np.ndarray:
        """Return the group of every row."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def place(self) -> np.ndarray:
        """Return the position of every row within its group, from 0."""
        return np.arange(self.sizes.sum()) - np.repeat(self.starts, self.sizes)


def groups_of(*keys: np.ndarray) -> Groups:
    """Return the runs of equal keys in rows that are sorted by them."""
    changes = np.zeros(len(keys[0]), bool)
    for key in keys:
        changes[1:] |= key[1:] != key[:-1]
    bounds = np.flatnonzero(np.concatenate([[True], changes[1:]])) if len(changes) else np.zeros(0, np.int64)
    return Groups(np.diff(np.append(bounds, len(changes))))


def place_in_groups(groups: Groups, *keys: np.ndarray) -> np.ndarray:
    """Return every row's place in its group, from 0, ascending by the first key, then the next; ties keep row order."""
    order = np.lexsort((*keys[::-1], groups.number()))
    place = np.empty(len(order), np.int64)
    place[order] = groups.place()
    return place


def top_rows(scores: np.ndarray, groups: Groups, k: int) -> np.ndarray:
    """Return the row numbers of the k best scores per group, int64 (groups, k), -1 beyond a short group.

    Equal scores keep row order, so rows sorted by item id break ties towards the smaller id. A row that scores minus
    infinity is in no list.
    """
    from ranking.best_loop import fill_best

    best = np.full((len(groups.sizes), k), EMPTY, np.int64)
    fill_best(np.ascontiguousarray(scores, np.float64), groups.sizes.astype(np.int64, copy=False), best)
    return best
