"""Loops over pairs in machine code: NumPy would first gather the lists of every pair, then pass over them many times.

Sums run in the order of the lists, so a pair has the same bits among 300 as among a million. Whoever calls these
imports them where they are called: a process compiles them once, in some seconds. The machine code is not kept on
disk, from where numba would read it back by pickle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numba import njit, types

HOUR: Final = 3_600_000_000


def _given(dtype: types.Type, dimensions: int = 1) -> types.Array:
    """The type of an argument that is only read: what lies in an Arrow buffer may not be written to."""
    return types.Array(dtype, dimensions, "C", readonly=True)


_bools, _int32s, _int64s, _numbers = map(_given, (types.boolean, types.int32, types.int64, types.float64))
_matrix, _out = _given(types.float64, 2), types.float64[:, ::1]
_lookup = (_int32s, _int64s, _int64s)
_lists = (_int64s, _int64s)


def _compiled(*arguments: types.Type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Compile a loop for arguments of these types when it is defined."""

    def compile_loop(loop: Callable[..., None]) -> Callable[..., None]:
        return njit(types.void(*arguments), nogil=True)(loop)

    return compile_loop


@njit(nogil=True)
def find(table, keys, order, wanted):
    """Return where a key first stands (`on_demand.codes.Lookup`), -1 where it does not."""
    if len(table):
        return np.int64(table[wanted])
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return order[low] if low < len(keys) and keys[low] == wanted else np.int64(-1)


@_compiled(*_lookup, _int64s, _int64s, *_lists, _int64s, _matrix, _out, _out, types.int64[::1])
def pool(table, keys, order, left, right, starts, lengths, codes, block, best, total, met):
    """Pool the numbers of left lists (values + 1, names) that a pair's right list meets: greatest, sum, how many.

    `left`: by pair, where its codes begin in the lookup; `right`: by pair, the number of its list of `codes`.
    """
    for pair in range(len(left)):
        start = starts[right[pair]]
        for number in range(lengths[right[pair]]):
            place = find(table, keys, order, left[pair] + codes[start + number])
            met[pair] += place >= 0
            for name in range(block.shape[1]):
                value = block[place, name]
                total[name, pair] += value
                if number == 0 or value > best[name, pair]:
                    best[name, pair] = value


@_compiled(
    *_lookup, _int64s, _int64s, *_lists, _int64s, _int64s, _numbers, types.float64, _matrix, _matrix, _out
)  # fmt: skip
def lifts(
    table, keys, order, left, right, starts, lengths, codes, attributes, priors, prior_events, events, values, out
):  # fmt: skip
    """Fill `out` (3 * windows + 1, pairs) with mean shares, mean and greatest lifts, and the mean value of a pair.

    `codes` and `attributes` are those of the user's groups and of what they are groups of, `priors` their shares.
    """
    windows = events.shape[1]
    for pair in range(len(left)):
        start, count = starts[right[pair]], lengths[right[pair]]
        valued = 0
        for row in range(len(out)):
            out[row, pair] = 0.0 if count else np.nan
        for group in range(start, start + count):
            place = find(table, keys, order, left[pair] + codes[group])
            attribute = find(table, keys, order, left[pair] + attributes[group])
            prior = priors[group]
            for window in range(windows):
                mine, all_of_it = events[place, window], events[attribute, window]
                share = (mine + prior_events * prior) / (all_of_it + prior_events)
                lift, best = share / prior, 2 * windows + window
                out[window, pair] += share
                out[windows + window, pair] += lift
                if group == start or not lift <= out[best, pair]:
                    out[best, pair] = lift
            value = values[place, 0]
            if value == value:
                valued += 1
                out[3 * windows, pair] += value
        for row in range(2 * windows):
            out[row, pair] /= max(count, 1)
        out[3 * windows, pair] = out[3 * windows, pair] / valued if valued else np.nan


@_compiled(_int64s, *_lists, _numbers, types.float64[::1])
def fade(time, start, length, faded, out):
    """Fill `out` with what is left of the elements of lists by the whole hours between the first one and each."""
    for row in range(len(start)):
        for element in range(start[row], start[row] + length[row]):
            hours = (time[start[row]] - time[element]) // HOUR
            out[element] = faded[min(max(hours, 0), len(faded) - 1)]


@njit(nogil=True)
def _pooled(places, listed, weights, fading, faded):
    """Return max, sum, recent, position and last of one list of neighbours; `places` of the history's items, from 1."""
    best, total, recent, position, last = 0.0, 0.0, 0.0, 0.0, 0.0
    hits = 0
    for column in range(len(listed)):
        place = np.int64(places[listed[column]]) - 1
        if place < 0:
            continue
        weight = np.float64(weights[column])
        if hits == 0:  # neighbours are listed best first
            best = weight
        hits += 1
        total += weight
        recent += weight * fading[place]
        position += weight * faded[min(place, len(faded) - 1)]
        if place == 0:
            last = weight
    return best, total, recent, position, last


@_compiled(
    _int64s, _bools, _int64s, *_lists, _int32s, _numbers, _numbers, types.int64, _given(types.int64, 2),
    _given(types.int32, 2), _int64s, _given(types.float32, 2), types.float32[:, :, ::1],
)  # fmt: skip
def similarities(
    order, fit, history, start, length, code, fading, faded, codes, lists, listed, sizes, weights, out
):  # fmt: skip
    """Fill `out` (6, sources, pairs): max, mean, sum, recent, position, last of the similarities to the history.

    Pairs are taken in an order that keeps those of one history together: the table of where its items stand, of so
    many `codes`, is made once for them. `lists` (sources, pairs) number the rows of `listed` and `weights`, of `sizes`.
    NaN where a list or the history is empty, or the pair is not of one `fit`.
    """
    places = np.zeros(codes, np.uint16)
    known = np.int64(-1)
    for pair in order:
        owner = history[pair]
        if owner != known:
            if known >= 0:
                for element in range(start[known], start[known] + length[known]):
                    places[code[element]] = 0
            known = owner
            for number in range(min(length[owner], 65535)):
                places[code[start[owner] + number]] = number + 1
            places[0] = 0  # what nobody lists is no neighbour
        for source in range(len(lists)):
            row = lists[source, pair]
            if not fit[pair] or not length[owner] or not sizes[row]:
                for how in range(6):
                    out[how, source, pair] = np.nan
                continue
            best, total, recent, position, last = _pooled(
                places,
                listed[row, : sizes[row]],
                weights[row],
                fading[start[owner] : start[owner] + length[owner]],
                faded,
            )
            out[0, source, pair] = best
            out[1, source, pair] = total / length[owner]
            out[2, source, pair] = total
            out[3, source, pair] = recent
            out[4, source, pair] = position
            out[5, source, pair] = last


@_compiled(
    _bools, _int64s, _int64s, _matrix, _matrix, *_lists, _numbers, _numbers, types.float64[::1], types.float64[::1]
)  # fmt: skip
def products(fit, left_row, right_row, left, right, left_sizes, right_sizes, left_norms, right_norms, dot, cosine):
    """Fill `dot` and `cosine` with those of the rows that the pairs number; zeros follow the shorter vectors.

    NaN where two sizes differ, where there is no vector, where the pair is not of one `fit`; the cosine of zeros, too.
    """
    width = min(left.shape[1], right.shape[1])
    for pair in range(len(dot)):
        one, other = left_row[pair], right_row[pair]
        dot[pair] = cosine[pair] = np.nan
        if not fit[pair] or not left_sizes[one] or left_sizes[one] != right_sizes[other]:
            continue
        total = 0.0
        for column in range(width):
            total += left[one, column] * right[other, column]
        dot[pair] = total
        norm = left_norms[one] * right_norms[other]
        if norm > 0:
            cosine[pair] = total / norm
