"""Matrices of encoded features, filled a part at a time. They lie in files, so that a process holds of them what it is
working on: the system writes the rest out and drops it when memory is short.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from ranking.encoding import Encoding, learn_encoding
from ranking.trees.scorer import in_blocks, predictor

if TYPE_CHECKING:
    import lightgbm

    from feature_repo.workspace import Workspace
    from ranking.estimator import Plugged

ROWS: Final = 1 << 16
"""So many rows are worked on at a time."""


def matrix_folder(workspace: Workspace) -> Path:
    """Return where a workspace's matrices lie while they are needed."""
    return workspace.data_dir / "spill" / "matrices"


def stored_matrix(rows: int, columns: int, folder: Path) -> np.memmap:
    """Return a float32 matrix (rows, columns) in a nameless file below `folder`, which goes with its last reference.

    Raises OSError where the disk has no room for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        size = max(rows * columns, 1) * np.dtype(np.float32).itemsize
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is an error here, and a signal later
        else:
            file.truncate(size)
        return np.memmap(file, np.float32, "r+", shape=(rows, columns))


def parts(matrix: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows of a matrix in order, some at a time; a stored one is let go of as they are done."""
    for start in range(0, len(matrix), ROWS):
        yield matrix[start : start + ROWS]
        let_go(matrix)


def let_go(matrix: np.ndarray) -> None:
    """Take what was touched of a stored matrix out of this process; it stays in the file."""
    whole = matrix.base if isinstance(matrix, np.memmap) else None
    while isinstance(whole, np.ndarray):
        whole = whole.base
    if isinstance(whole, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        whole.madvise(mmap.MADV_DONTNEED)


def learn_matrix(tables: Iterable[pa.Table], rows: int, room: int, folder: Path) -> tuple[Encoding, np.memmap]:
    """Learn the encoding of so many rows that come in tables; return it with a matrix of them, and `room` for more.

    Texts are held until the last table has come, since their codes are learned from all of them.
    """
    draft, matrix, texts, start = Encoding(()), None, [], 0
    for table in tables:
        if matrix is None:
            draft = learn_encoding([table.slice(0, 0)])
            matrix = stored_matrix(rows + room, len(draft.columns), folder)
        draft.fill(table, matrix[start : start + table.num_rows])
        let_go(matrix)
        texts.append(table.select([draft.names[place] for place in draft.categories]))
        start += table.num_rows
        del table  # before the next one is made
    encoding = _with_vocabularies(draft, texts)
    _fill_texts(encoding, texts, matrix)
    return encoding, matrix


def fill_matrix(encoding: Encoding, tables: Iterable[pa.Table], matrix: np.ndarray) -> None:
    """Encode rows that come in tables into a matrix that has room for all of them."""
    start = 0
    for table in tables:
        encoding.fill(table, matrix[start : start + table.num_rows])
        let_go(matrix)
        start += table.num_rows
        del table  # before the next one is made


def take_rows(matrix: np.ndarray, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return the rows of these places, ascending int64, in `out` where it is given."""
    if out is None:
        out = np.empty((len(rows), matrix.shape[1]), matrix.dtype)
    bounds = np.searchsorted(rows, np.arange(0, len(matrix) + ROWS, ROWS))
    for number, part in enumerate(parts(matrix)):
        first, last = bounds[number], bounds[number + 1]
        out[first:last] = part[rows[first:last] - number * ROWS]
    let_go(out)
    return out


def predict(
    booster: lightgbm.Booster | Plugged, matrix: np.ndarray, *, rounds: int | None = None, raw: bool = False
) -> np.ndarray:
    """Return float64 scores (rows,) by the first `rounds` trees, `raw` without the objective's sigmoid."""
    score = predictor(booster, len(matrix), rounds=rounds, raw=raw)
    return np.concatenate([np.empty(0), *(in_blocks(score, part) for part in parts(matrix))])


def _with_vocabularies(draft: Encoding, texts: list[pa.Table]) -> Encoding:
    if not draft.categories:
        return draft
    learned = {column.name: column.vocabulary for column in learn_encoding(texts).columns}
    return Encoding(tuple(replace(one, vocabulary=learned.get(one.name, ())) for one in draft.columns))


def _fill_texts(encoding: Encoding, texts: list[pa.Table], matrix: np.ndarray) -> None:
    places = encoding.categories
    alone = Encoding(tuple(encoding.columns[place] for place in places))
    start = 0
    for table in texts:
        matrix[start : start + table.num_rows, places] = alone.encode(table)
        start += table.num_rows
    let_go(matrix)
