"""Loops over pairs in machine code: NumPy would first gather the lists of every pair, then pass over them many times.

What a pair reads lies far from what the one before it read, so the processor is told some pairs ahead. Sums run in
the order of the lists, so a pair has the same bits among 300 as among a million. Where it was measured to help, an
index that was read is made unsigned: numba asks of any other whether it counts from the end. Whoever calls these
imports them where they are called: a process compiles them once, in some seconds. The machine code is not kept on disk,
from where numba would read it back by pickle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

HOUR: Final = 3_600_000_000
DAY: Final = 86_400.0
FIRST_MONDAY: Final = 4 * DAY  # 1970-01-05, in seconds
LINE: Final = 64


def _given(dtype: types.Type, dimensions: int = 1) -> types.Array:
    """The type of an argument that is only read: what lies in an Arrow buffer may not be written to."""
    return types.Array(dtype, dimensions, "C", readonly=True)


_bools, _int32s, _int64s, _numbers = map(_given, (types.boolean, types.int32, types.int64, types.float64))
_matrix, _vectors, _counts = (_given(dtype, 2) for dtype in (types.float64, types.float32, types.int32))
_out = types.float32[:, ::1]
_lookup = (_int32s, _int64s, _int64s)
_lists = (_int64s, _int64s)


def _compiled(*arguments: types.Type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Compile a loop for arguments of these types when it is defined."""

    def compile_loop(loop: Callable[..., None]) -> Callable[..., None]:
        return njit(types.void(*arguments), nogil=True, error_model="numpy", no_cfunc_wrapper=True)(loop)

    return compile_loop


_part = njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, no_cpython_wrapper=True)
"""Part of a loop. Only loops call it: what would let Python or C do so is compiled for nobody."""


@intrinsic
def _prefetch(_, array, distance):
    """Ask for the cache line that lies so many bytes behind an array's begin: LLVM's `llvm.prefetch`."""

    def emit(context, builder, signature, arguments):
        number = ir.IntType(32)
        start = make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.gep(builder.bitcast(start, ir.IntType(8).as_pointer()), [arguments[1]])
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), emit


@_part
def _prefetch_row(matrix, row):
    """Ask for a row of a matrix."""
    size = matrix.shape[1] * matrix.itemsize
    for place in range(row * size, (row + 1) * size, LINE):
        _prefetch(matrix, place)


@_part
def _prefetch_list(starts, lengths, codes, right, pair):
    """Ask for the right list of the pair 8 further on, and before that for where it lies."""
    if pair + 16 < len(right):
        _prefetch(starts, right[pair + 16] * starts.itemsize)
        _prefetch(lengths, right[pair + 16] * lengths.itemsize)
    if pair + 8 < len(right):
        _prefetch(codes, starts[right[pair + 8]] * codes.itemsize)


@njit(nogil=True, error_model="numpy")
def find(table, keys, order, wanted):
    """Return where a key first stands (`on_demand.codes.Lookup`), -1 where it does not."""
    if len(table):
        return np.int64(table[np.uintp(wanted)])
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return order[low] if low < len(keys) and keys[low] == wanted else np.int64(-1)


@_part
def _pool(table, keys, order, left, codes, start, count, block, best, total):
    """Pool the numbers of a left list that a right list meets, `count` codes from `start` on; return how many were met.

    `left`: where the left list's codes begin in the lookup; a value that it lacks has the block's last number.
    """
    for name in range(block.shape[1]):
        best[name] = total[name] = 0.0
    met = 0
    for number in range(count):
        place = find(table, keys, order, left + codes[start + number])
        met += place >= 0
        for name in range(block.shape[1]):
            value = block[place, name]
            total[name] += value
            if number == 0 or value > best[name]:
                best[name] = value
    return met


@_compiled(_int64s, types.int64, _int32s, types.int32[::1])
def look_up(values, low, table, out):
    """Fill `out` with what a table from `low` on holds for values, 0 for one outside."""
    for row in range(len(values)):
        out[row] = table[values[row] - low] if low <= values[row] < low + len(table) else 0


@_compiled(*_lookup, _int64s, _int64s, _int64s, _int64s, *_lists, _int64s, _matrix, _numbers, _out)
def affinities(table, keys, order, left, owner, owned, right, starts, lengths, codes, block, now, out):
    """Fill `out` (3 * names + 1, pairs) with max, mean and sum of the numbers met, and the days since the last time.

    `block` (values + 1, names + 1) has times in its last column. `owner` numbers the left lists of `owned` lengths,
    `right` those of `codes`. NaN where one of the two is empty; the days also where no time was met.
    """
    best, total = np.empty(block.shape[1]), np.empty(block.shape[1])
    last = block.shape[1] - 1
    for pair in range(len(left)):
        _prefetch_list(starts, lengths, codes, right, pair)
        count = lengths[right[pair]]
        _pool(table, keys, order, left[pair], codes, starts[right[pair]], count, block, best, total)
        empty = count == 0 or owned[owner[pair]] == 0
        for name in range(last):
            out[3 * name, pair] = np.nan if empty else best[name]
            out[3 * name + 1, pair] = np.nan if empty else total[name] / count
            out[3 * name + 2, pair] = np.nan if empty else total[name]
        out[3 * last, pair] = (now[pair] - best[last]) / DAY if best[last] > 0 else np.nan


@_compiled(*_lookup, _int64s, _int64s, *_lists, _int64s, _matrix, _out)
def tastes(table, keys, order, left, right, starts, lengths, codes, block, out):
    """Fill `out` (2 * names, pairs) with the greatest number met by name and the mean of those met, NaN for none."""
    best, total = np.empty(block.shape[1]), np.empty(block.shape[1])
    for pair in range(len(left)):
        _prefetch_list(starts, lengths, codes, right, pair)
        start, count = starts[right[pair]], lengths[right[pair]]
        met = _pool(table, keys, order, left[pair], codes, start, count, block, best, total)
        for name in range(block.shape[1]):
            out[2 * name, pair] = best[name] if met else np.nan
            out[2 * name + 1, pair] = total[name] / met if met else np.nan


@_compiled(
    *_lookup, _int64s, _int64s, *_lists, _int64s, _int64s, _numbers, types.float64, _counts, _vectors, _out
)  # fmt: skip
def lifts(
    table, keys, order, left, right, starts, lengths, codes, attributes, priors, prior_events, events, values, out
):  # fmt: skip
    """Fill `out` (3 * windows + 1, pairs) with mean shares, mean and greatest lifts, and the mean value of a pair.

    `codes` and `attributes` are those of the user's groups and of what they are groups of, `priors` their shares.
    """
    windows = events.shape[1]
    shares, lifted, best = np.empty(windows), np.empty(windows), np.empty(windows)
    for pair in range(len(left)):
        own = np.uintp(right[pair])
        start, count = starts[own], lengths[own]
        if pair + 8 < len(left) and len(table):
            first, ahead = left[pair + 8], np.uintp(right[pair + 8])
            for group in range(starts[ahead], starts[ahead] + lengths[ahead]):
                _prefetch(table, (first + codes[np.uintp(group)]) * table.itemsize)
                _prefetch(table, (first + attributes[np.uintp(group)]) * table.itemsize)
            first, ahead = left[pair + 4], np.uintp(right[pair + 4])
            for group in range(starts[ahead], starts[ahead] + lengths[ahead]):
                place = table[np.uintp(first + codes[np.uintp(group)])]
                _prefetch_row(events, place)
                _prefetch_row(events, table[np.uintp(first + attributes[np.uintp(group)])])
                _prefetch_row(values, place)
        for window in range(windows):
            shares[window] = lifted[window] = 0.0
            best[window] = np.nan
        valued, total = 0, 0.0
        for number in range(start, start + count):
            group = np.uintp(number)
            place = find(table, keys, order, left[pair] + codes[group])
            attribute = find(table, keys, order, left[pair] + attributes[group])
            prior = priors[group]
            row = np.uintp(place if place >= 0 else len(events) - 1)
            whole = np.uintp(attribute if attribute >= 0 else len(events) - 1)
            for window in range(windows):
                mine, all_of_it = events[row, window], events[whole, window]
                share = (mine + prior_events * prior) / (all_of_it + prior_events)
                lift = share / prior
                shares[window] += share
                lifted[window] += lift
                if number == start or not lift <= best[window]:
                    best[window] = lift
            value = np.float64(values[row, 0])
            if value == value:
                valued += 1
                total += value
        for window in range(windows):
            out[window, pair] = shares[window] / count if count else np.nan
            out[windows + window, pair] = lifted[window] / count if count else np.nan
            out[2 * windows + window, pair] = best[window]
        out[3 * windows, pair] = total / valued if valued else np.nan


@_compiled(_int64s, *_lists, _numbers, types.float64[::1])
def fade(time, start, length, faded, out):
    """Fill `out` with what is left of the elements of lists by the whole hours between the first one and each."""
    for row in range(len(start)):
        for element in range(start[row], start[row] + length[row]):
            hours = (time[start[row]] - time[element]) // HOUR
            out[element] = faded[min(max(hours, 0), len(faded) - 1)]


@_part
def _met(places, listed, met):
    """Fill `met` with the columns of the neighbours that have a place; return how many do.

    Without a branch: whether a neighbour is in the history can't be foretold, and few are.
    """
    count = 0
    for column in range(len(listed)):
        met[np.uintp(count)] = column
        count += places[np.uintp(listed[np.uintp(column)])] != 0
    return count


@_part
def _pooled(places, listed, weights, met, fading, faded):
    """Return max, sum, recent, position and last of the neighbours `met`; `places` of the history's items, from 1."""
    best, total, recent, position, last = 0.0, 0.0, 0.0, 0.0, 0.0
    if len(met):  # neighbours are listed best first
        best = np.float64(weights[met[0]])
    for column in met:
        place = np.int64(places[listed[column]]) - 1
        weight = np.float64(weights[column])
        total += weight
        recent += weight * fading[place]
        position += weight * faded[min(place, len(faded) - 1)]
        if place == 0:
            last = weight
    return best, total, recent, position, last


@_compiled(
    _int64s, _bools, _int64s, *_lists, _int32s, _numbers, _numbers, types.int64, _given(types.int64, 2),
    _counts, _int32s, _vectors, types.float32[:, :, ::1],
)  # fmt: skip
def similarities(
    order, fit, history, start, length, code, fading, faded, codes, lists, listed, sizes, weights, out
):  # fmt: skip
    """Fill `out` (sources, 6, pairs): max, mean, sum, recent, position, last of the similarities to the history.

    Pairs are taken in an order that keeps those of one history together: the table of where its items stand, of so
    many `codes`, is made once for them. `lists` (sources, pairs) number the rows of `listed` and `weights`, of `sizes`.
    NaN where a list or the history is empty, or the pair is not of one `fit`.
    """
    places = np.zeros(codes, np.uint16)
    met = np.empty(listed.shape[1] + 1, np.int64)
    known = np.int64(-1)
    for number in range(len(order)):
        pair = np.uintp(order[number])
        if number + 3 < len(order):
            ahead = np.uintp(order[number + 3])
            for source in range(len(lists)):
                _prefetch_row(listed, lists[source, ahead])
                _prefetch_row(weights, lists[source, ahead])
            _prefetch(sizes, lists[0, ahead] * sizes.itemsize)
        owner = history[pair]
        if owner != known:
            if known >= 0:
                for element in range(start[known], start[known] + length[known]):
                    places[code[element]] = 0
            known = owner
            for element in range(min(length[owner], 65535)):
                places[code[start[owner] + element]] = element + 1
            places[0] = 0  # what nobody lists is no neighbour
        for source in range(len(lists)):
            row = lists[source, pair]
            if not fit[pair] or not length[owner] or not sizes[row]:
                for how in range(6):
                    out[source, how, pair] = np.nan
                continue
            hits = _met(places, listed[row, : sizes[row]], met)
            elements = fading[start[owner] : start[owner] + length[owner]]
            best, total, recent, position, last = _pooled(
                places, listed[row], weights[row], met[:hits], elements, faded
            )
            out[source, 0, pair] = best
            out[source, 1, pair] = total / length[owner]
            out[source, 2, pair] = total
            out[source, 3, pair] = recent
            out[source, 4, pair] = position
            out[source, 5, pair] = last


@_part
def _products(left, right, size):
    """Return the sums of left * right and right * right of the first `size` numbers.

    Each in four sums, so that they need not wait in turn.
    """
    one, two, three, four = 0.0, 0.0, 0.0, 0.0
    own, other, third, fourth = 0.0, 0.0, 0.0, 0.0
    whole = size - size % 4
    for begin in range(0, whole, 4):
        place = np.uintp(begin)
        then, next_one, last = place + np.uintp(1), place + np.uintp(2), place + np.uintp(3)
        first, second = np.float64(right[place]), np.float64(right[then])
        one += np.float64(left[place]) * first
        own += first * first
        two += np.float64(left[then]) * second
        other += second * second
        first, second = np.float64(right[next_one]), np.float64(right[last])
        three += np.float64(left[next_one]) * first
        third += first * first
        four += np.float64(left[last]) * second
        fourth += second * second
    for place in range(whole, size):
        value = np.float64(right[place])
        one += np.float64(left[place]) * value
        own += value * value
    return (one + two) + (three + four), (own + other) + (third + fourth)


@_compiled(
    _bools, _int64s, _int64s, _vectors, _vectors, _int32s, _int32s, types.float64[::1], types.float64[::1]
)  # fmt: skip
def products(fit, left_row, right_row, left, right, left_sizes, right_sizes, dot, cosine):
    """Fill `dot` and `cosine` with those of the rows that the pairs number.

    NaN where two sizes differ, where there is no vector, where the pair is not of one `fit`; the cosine of zeros, too.
    """
    known, length = np.uintp(len(left)), 0.0
    for pair in range(len(dot)):
        if pair + 8 < len(dot):
            _prefetch_row(right, right_row[pair + 8])
        one, other = np.uintp(left_row[pair]), np.uintp(right_row[pair])
        dot[pair] = cosine[pair] = np.nan
        if not fit[pair] or not left_sizes[one] or left_sizes[one] != right_sizes[other]:
            continue
        size = left_sizes[one]
        if one != known:
            known, length = one, np.sqrt(_products(left[one], left[one], size)[0])
        # The item's length is made anew each time: one that lies elsewhere costs more than the numbers at hand.
        total, square = _products(left[one], right[other], size)
        dot[pair] = total
        norm = length * np.sqrt(square)
        if norm > 0:
            cosine[pair] = total / norm


@_compiled(_numbers, _int64s, _matrix, _out)
def ages(now, row, times, out):
    """Fill `out` (names, pairs) with the days from the times (values, names) to the request; all in seconds."""
    for pair in range(len(now)):
        if pair + 16 < len(now):
            _prefetch_row(times, row[pair + 16])
        own = np.uintp(row[pair])
        for name in range(times.shape[1]):
            out[name, pair] = (now[pair] - times[own, name]) / DAY


@_compiled(_numbers, _int64s, _matrix, _numbers, _out)
def trends(now, row, block, days, out):
    """Fill `out` (2 * windows, pairs) with slopes and tendencies (`on_demand.trend`) over windows of so many days.

    `block` (values, 2 * windows) has the events' mean times, in seconds, then their numbers.
    """
    windows = len(days)
    for pair in range(len(now)):
        if pair + 16 < len(now):
            _prefetch_row(block, row[pair + 16])
        own = np.uintp(row[pair])
        for window in range(windows):
            long, events = days[window], block[own, windows + window]
            age = (now[pair] - block[own, window]) / DAY
            slope = 12 * events * (long / 2 - age) / long**3 if events != 0 else 0.0
            out[window, pair] = slope
            out[windows + window, pair] = slope * long / (events / long + 1)


@_part
def _within(seconds, unit, count):
    """Return which of `count` units a time lies in."""
    passed = np.floor(seconds / unit)
    return passed - count * np.floor(passed / count)


@_compiled(_numbers, _int64s, _matrix, _out)
def moments(now, row, last, out):
    """Fill `out` (4, pairs) with hour, weekday, whether it is a weekend, and the hours since the last time."""
    for pair in range(len(now)):
        weekday = _within(now[pair] - FIRST_MONDAY, DAY, 7)
        out[0, pair] = _within(now[pair], 3600, 24)
        out[1, pair] = weekday
        out[2, pair] = np.float64(weekday >= 5) if weekday == weekday else np.nan
        out[3, pair] = (now[pair] - last[row[pair], 0]) / 3600
