"""A view's next records in the SQLite file, written beside the present ones until they take their place.

Each batch is a transaction of its own, so that neither memory nor the write-ahead log grows with the view, other
writers wait for one batch at most, and readers go on with the old records; then two tables change names in one small
transaction. What is pushed to the view meanwhile is written to both tables. Whatever a killed process left behind goes
with the next swap, which a lock beside the file holds off while one is at work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from feature_repo.errors import ContractError
from feature_repo.stores.packed import Blobs, stored_time
from feature_repo.stores.packed_db import PackedDatabase
from feature_repo.stores.packed_view import PackedView
from feature_repo.stores.packed_writer import Writer


@dataclass(frozen=True)
class Swap:
    """One swap of a view; `number` is its table's."""

    database: PackedDatabase
    view: PackedView
    number: int

    def write(self, keys: np.ndarray | Blobs, records: Blobs) -> None:
        """Write a batch beside the view's present records, in one transaction."""
        with self.database.transaction() as writer:
            self._check(writer)
            writer.stage(self.number, keys, records)

    def finish(self) -> None:
        """Let the new records take the place of the old ones, which are removed afterwards."""
        with self.database.transaction() as writer:
            self._check(writer)
            writer.declare(*self.view.id, self.view.keys, self.view.layout)
            writer.take_over(self.number)
        _clean_up(self.database)

    def _check(self, writer: Writer) -> None:
        if self.number not in writer.staged:
            raise ContractError(
                f"feature view {self.view.name} in the online store",
                expected="nobody to drop the view while it is written",
                got="a view that was dropped or made anew",
                fix="Materialize it again.",
            )


@contextmanager
def swap(database: PackedDatabase, view: PackedView, newest: int | None) -> Iterator[Swap | None]:
    """Begin a swap, None where the view holds newer records than `newest`; it takes place when the block ends.

    An error in the block leaves the view as it was.
    """
    with _one_at_a_time(database):
        begun = _begin(database, view, newest)
        try:
            yield begun
        except BaseException:
            _clean_up(database)
            raise
        if begun is not None:
            begun.finish()


def _begin(database: PackedDatabase, view: PackedView, newest: int | None) -> Swap | None:
    _clean_up(database)
    with database.transaction() as writer:
        stored = writer.declare(*view.id, view.keys, view.layout)
        if newest is not None and stored_time(newest) < writer.newest(stored):
            return None
        writer.begin_staging(stored.number)
        return Swap(database, view, stored.number)


def _clean_up(database: PackedDatabase) -> None:
    """Remove what swaps have left: only for one who knows that no swap is at work."""
    with database.transaction() as writer:
        tables = writer.left_over()
    for table in tables:
        more = True
        while more:
            with database.transaction() as writer:
                more = writer.remove_some(table)


@contextmanager
def _one_at_a_time(database: PackedDatabase) -> Iterator[None]:
    """Wait until no other process or thread swaps a view of this file; the lock goes with the process that holds it."""
    import fcntl

    database.path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(f"{database.path}-swap", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
