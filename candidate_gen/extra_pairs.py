"""Pairs that no source proposed, drawn for training: pairs that reach the ranker by another way look like them."""

from __future__ import annotations

from typing import Final

import numpy as np

from candidate_gen.pairs import Pairs
from candidate_gen.pipeline import Stage
from candidate_gen.source import seen_positions

# So many draws for one that is wanted: some hit what was proposed, consumed or drawn before.
_DRAWS: Final = 4


def extra_pairs(
    pairs: Pairs, codes: np.ndarray, stage: Stage, count: int, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return up to `count` (row, item code) per user of a batch that are neither proposed nor consumed.

    `codes`: the users' int32 codes. Items are drawn evenly among those known at the cut. A user's draws depend on the
    seed and the user alone, not on who else asks.
    """
    width = stage.interactions.shape[1]
    if not width or not count:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    draws = count * _DRAWS
    number = (codes.astype(np.int64)[:, None] + 1) * draws + np.arange(draws)  # an unknown user's code is -1
    item = (_mixed(number.astype(np.uint64), seed) % np.uint64(width)).astype(np.int64)
    cells = (np.arange(len(codes))[:, None] * width + item).ravel()
    taken = [pairs.row * width + pairs.item]
    if not stage.allow_repeats:
        row, seen = seen_positions(stage.interactions, codes)
        taken.append(row * width + seen)
    _, first = np.unique(cells, return_index=True)
    free = np.zeros(len(cells), bool)
    free[first] = True
    free &= ~np.isin(cells, np.concatenate(taken))
    place = np.cumsum(free.reshape(len(codes), draws), axis=1)
    row, item = np.divmod(cells[free & (place <= count).ravel()], width)
    return row, item


def _mixed(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Return well-mixed uint64 for uint64 (splitmix64)."""
    mixed = (numbers + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
