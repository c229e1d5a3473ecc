"""A table of a view's rows: put into order, checked for one row per key and time, reduced to the rows of change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.columns import TIME

IS_PUSHED = "is_pushed"


def faulty_row(table: pa.Table, keys: Sequence[str]) -> tuple | None:
    """Return the keys and the time of a row that has a null among them or that is there twice, None without one."""
    names = (*keys, TIME)
    places = [pc.index(table[name].is_null(), True).as_py() for name in names if table[name].null_count]
    if not places:
        order = _order(table, names)
        twice = ~starts(table, names, order)
        places = [int(order[twice.argmax()])] if twice.any() else []
    return tuple(table[name][places[0]].as_py() for name in names) if places else None


def with_pushed(table: pa.Table, pushed: pa.Table) -> pa.Table:
    """Return pushed rows, keys and times alone, and then those of a table; `is_pushed` says which is which."""
    flags = [np.ones(pushed.num_rows, bool), np.zeros(table.num_rows, bool)]
    both = pa.concat_tables([pushed, table], promote_options="default")
    return both.append_column(IS_PUSHED, pa.array(np.concatenate(flags))).combine_chunks()


def rows_of_change(table: pa.Table, keys: Sequence[str], features: Sequence[str]) -> pa.Table:
    """Return the rows that differ from the row of their key before them, sorted by time, then keys.

    With a column `is_pushed` such rows are left out, and a row after one is a row of change whatever it says; at one
    time a pushed row comes first.
    """
    order = _order(table, (*keys, TIME))
    changed = starts(table, keys, order)
    kept = np.ones(len(order), bool)
    if IS_PUSHED in table.column_names:
        kept = ~table[IS_PUSHED].to_numpy()[order]
        changed[1:] |= ~kept[:-1]
        table = table.drop_columns([IS_PUSHED])
    undecided = np.flatnonzero(~changed & kept)
    # Most rows differ by a number: lists are compared for the few that are left.
    for name in sorted(features, key=lambda name: pa.types.is_list(table.schema.field(name).type)):
        column = one_piece(table[name])
        same = ~_distinct(column.take(order[undecided]), column.take(order[undecided - 1]))
        undecided = undecided[same]
    kept[undecided] = False
    rows = order[kept]
    times = table[TIME].cast(pa.int64()).to_numpy()[rows]
    return table.take(rows[np.argsort(times, kind="stable")])


def _order(table: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """Return the places of the rows sorted by some columns, equal ones as they are."""
    ranks = [_ranks(table[name]) for name in columns]
    return np.arange(table.num_rows) if _is_sorted(ranks) else np.lexsort(ranks[::-1])


def _is_sorted(ranks: Sequence[np.ndarray]) -> bool:
    """Return whether rows come in order, by the first of some arrays before the second: of most SQL they do."""
    undecided = np.ones(max(len(ranks[0]) - 1, 0), bool)
    for column in ranks:
        before, after = column[:-1], column[1:]
        if (undecided & (before > after)).any():
            return False
        undecided &= before == after
    return True


def starts(table: pa.Table, columns: Sequence[str], order: np.ndarray) -> np.ndarray:
    """Return where a row, in some order, differs from the one before it in one of the columns, none of them null."""
    starts = np.ones(len(order), bool)
    if len(order):
        starts[1:] = False
        for name in columns:
            ranks = _ranks(table[name])[order]
            starts[1:] |= ranks[1:] != ranks[:-1]
    return starts


def _ranks(column: pa.ChunkedArray) -> np.ndarray:
    """Return integers in the order of a column's values; a null comes last."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if pa.types.is_integer(column.type) and not column.null_count:
        return column.to_numpy()
    coded = one_piece(column).dictionary_encode()
    order = pc.sort_indices(coded.dictionary).to_numpy()
    ranks = np.empty(len(order) + 1, np.int64)
    ranks[order], ranks[-1] = np.arange(len(order)), len(order)
    return ranks[coded.indices.fill_null(len(order)).to_numpy(zero_copy_only=False)]


def _distinct(left: pa.Array, right: pa.Array) -> np.ndarray:
    """Return which values differ; null equals null."""
    if not pa.types.is_list(left.type):
        equal = pc.equal(left, right).fill_null(False)
        same = pc.or_(equal, pc.and_(left.is_null(), right.is_null()))
        return ~same.to_numpy(zero_copy_only=False)
    lengths = _lengths(left)
    distinct = lengths != _lengths(right)
    alike = np.flatnonzero(~distinct)
    if len(alike):
        entries = _distinct(left.take(alike).flatten(), right.take(alike).flatten())
        rows = np.repeat(alike, np.maximum(lengths[alike], 0))
        distinct[rows[entries]] = True
    return distinct


def _lengths(column: pa.Array) -> np.ndarray:
    return column.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)


def one_piece(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    whole = column.combine_chunks()
    return whole if isinstance(whole, pa.Array) else pa.concat_arrays(whole.chunks)


def stamped(table: pa.Table, times: np.ndarray) -> pa.Table:
    """Return the rows with one of some times (int64 microseconds)."""
    return table.filter(np.isin(table[TIME].cast(pa.int64()).to_numpy(), times))
