"""Swapping a view in the SQLite file in several transactions: crashes, readers, pushes and drops in between."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.errors import ContractError, DataError
from feature_repo.stores import packed_writer
from feature_repo.stores.packed import Blobs, Field, Layout, stored_time
from feature_repo.stores.packed_db import PackedDatabase
from feature_repo.stores.packed_keys import INTEGER, KeyCodec
from feature_repo.stores.packed_rows import Rows
from feature_repo.stores.packed_swap import swap
from feature_repo.stores.packed_view import PackedView
from feature_repo.stores.packed_writer import Writer

LAYOUT = Layout([Field("n", pa.int64())])
VIEW = PackedView("p", "v", KeyCodec((("id", INTEGER),)), LAYOUT, 0, "event_timestamp", None, {}, None)


def batch(keys: list[int], value: int, time: int) -> tuple[np.ndarray, Blobs]:
    columns = {"n": pa.array([value] * len(keys), pa.int64())}
    return np.array(keys, np.int64), LAYOUT.pack(columns, np.full(len(keys), time), None)


def push(database: PackedDatabase, keys: list[int], value: int, time: int) -> None:
    with database.transaction() as writer:
        writer.upsert(writer.declare(*VIEW.id, VIEW.keys, LAYOUT), *batch(keys, value, time))


def replace(database: PackedDatabase, value: int, time: int, *keys: list[int]) -> None:
    with swap(database, VIEW, time) as begun:
        for part in keys if begun else ():
            begun.write(*batch(part, value, time))


def read(database: PackedDatabase, keys: list[int]) -> list[int | None]:
    with database.snapshot() as snapshot:
        view = snapshot.catalogue.views.get(VIEW.id)
        found = snapshot.records(view, keys) if view else {}
    return Rows(LAYOUT, [found.get(key, LAYOUT.blank) for key in keys]).array("n").to_pylist()


def tables(database: PackedDatabase) -> set[str]:
    with database.snapshot() as snapshot:
        names = snapshot.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {name for (name,) in names}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[PackedDatabase]:
    opened = PackedDatabase(tmp_path / "online.db")
    yield opened
    opened.close()


def test_nothing_is_seen_before_the_last_batch(database: PackedDatabase) -> None:
    push(database, [1, 2], 1, 1)
    with swap(database, VIEW, 2) as begun:
        begun.write(*batch([2], 20, 2))
        assert read(database, [1, 2, 3]) == [1, 1, None]
        begun.write(*batch([3], 20, 2))
        assert read(database, [1, 2, 3]) == [1, 1, None]
    assert read(database, [1, 2, 3]) == [None, 20, 20]
    assert tables(database) == {"views", "layouts", "newest", "view_1"}


def test_the_swap_is_a_change_of_the_view(database: PackedDatabase) -> None:
    push(database, [1], 1, 1)
    with database.snapshot() as snapshot:
        before = snapshot.catalogue.views[VIEW.id]
    replace(database, 2, 2, [1])
    with database.snapshot() as snapshot:
        after = snapshot.catalogue.views[VIEW.id]
    assert after.number == before.number
    assert after.changes > before.changes


def test_one_snapshot_sees_the_old_records_to_its_end(database: PackedDatabase) -> None:
    push(database, list(range(100)), 1, 1)
    with database.snapshot() as snapshot:
        view = snapshot.catalogue.views[VIEW.id]
        before = snapshot.records(view, [5])
        other = threading.Thread(target=replace, args=(database, 2, 2, list(range(100))))
        other.start()
        other.join()
        assert snapshot.records(view, [5]) == before
    assert read(database, [5]) == [2]


def test_a_killed_process_leaves_the_old_records_and_the_next_swap_clears_up(database: PackedDatabase) -> None:
    push(database, [1, 2], 1, 1)
    child = os.fork()
    if child == 0:
        with swap(database, VIEW, 2) as begun:
            begun.write(*batch([3], 2, 2))
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert read(database, [1, 2, 3]) == [1, 1, None]
    assert "staged_1" in tables(database)
    push(database, [1], 5, 5)
    assert read(database, [1]) == [5]
    replace(database, 6, 6, [1], [4])
    assert read(database, [1, 2, 3, 4]) == [6, None, None, 6]
    assert tables(database) == {"views", "layouts", "newest", "view_1"}


def test_a_process_killed_before_it_removed_the_old_records_leaves_the_new_ones(
    database: PackedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(database, [1], 1, 1)
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(Writer, "remove_some", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        replace(database, 2, 2, [2])
    os.waitpid(child, 0)
    assert read(database, [1, 2]) == [None, 2]
    assert "replaced_1" in tables(database)
    replace(database, 3, 3, [3])
    assert read(database, [1, 2, 3]) == [None, None, 3]
    assert tables(database) == {"views", "layouts", "newest", "view_1"}


def test_what_is_pushed_meanwhile_is_not_lost(database: PackedDatabase) -> None:
    push(database, [1, 2, 3], 1, 1)
    with swap(database, VIEW, 5) as begun:
        begun.write(*batch([1, 2], 50, 5))
        push(database, [1, 4], 60, 6)
        push(database, [2], 40, 4)
        assert read(database, [1, 2, 3, 4]) == [60, 40, 1, 60], "a push is seen at once"
        begun.write(*batch([3, 4], 50, 5))
    assert read(database, [1, 2, 3, 4]) == [60, 50, 50, 60]


def test_an_older_swap_changes_nothing(database: PackedDatabase) -> None:
    push(database, [1], 1, 5)
    with swap(database, VIEW, 4) as begun:
        assert begun is None
    assert read(database, [1]) == [1]


def test_an_error_leaves_the_view_as_it_was(database: PackedDatabase) -> None:
    push(database, [1], 1, 1)
    with pytest.raises(DataError), swap(database, VIEW, 2) as begun:  # noqa: PT012
        begun.write(*batch([2], 2, 2))
        raise DataError("rows", expected="more", got="none", fix="Nothing.")
    assert read(database, [1, 2]) == [1, None]
    assert tables(database) == {"views", "layouts", "newest", "view_1"}


def test_a_view_that_is_dropped_meanwhile_is_said(database: PackedDatabase) -> None:
    push(database, [1], 1, 1)
    with pytest.raises(ContractError, match="Materialize it again"), swap(database, VIEW, 2) as begun:  # noqa: PT012
        with database.transaction() as writer:
            writer.drop(*VIEW.id)
        begun.write(*batch([2], 2, 2))
    assert read(database, [1, 2]) == [None, None]


def test_two_swaps_wait_for_each_other(database: PackedDatabase) -> None:
    threads = [threading.Thread(target=replace, args=(database, n, n, [1], [n])) for n in (2, 3, 4)]
    with swap(database, VIEW, 1) as begun:
        for thread in threads:
            thread.start()
        begun.write(*batch([1, 9], 1, 1))
    for thread in threads:
        thread.join()
    assert read(database, [1, 4, 9]) == [4, 4, None]


def test_replaced_records_are_removed_a_batch_at_a_time(
    database: PackedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(database, list(range(100)), 1, 1)
    monkeypatch.setattr(packed_writer, "BATCH_ROWS", 30)
    left: list[bool] = []
    remove = Writer.remove_some

    def watched(writer: Writer, table: str) -> bool:
        left.append(remove(writer, table))
        return left[-1]

    monkeypatch.setattr(Writer, "remove_some", watched)
    replace(database, 2, 2, [1])
    assert left == [True, True, True, False]
    assert tables(database) == {"views", "layouts", "newest", "view_1"}


def test_the_newest_time_of_a_file_that_noted_none_is_looked_for(database: PackedDatabase) -> None:
    push(database, [1, 2], 1, 5)
    push(database, [1, 2], 1, 3)
    with database.transaction() as writer:
        noted = writer.newest(writer.catalogue.views[VIEW.id])
        writer.connection.execute("DELETE FROM newest")
        assert noted == writer.newest(writer.catalogue.views[VIEW.id]) == stored_time(5)
    push(database, [3], 1, 4)
    with swap(database, VIEW, 4) as begun:
        assert begun is None
    replace(database, 2, 6, [1])
    with database.transaction() as writer:
        writer.connection.execute("UPDATE view_1 SET record = zeroblob(8)")
        assert writer.newest(writer.catalogue.views[VIEW.id]) == stored_time(6), "noted from then on"
