"""The file under the packed store: upserts against a dictionary, other processes, crashes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.stores.packed import Blobs, Field, Layout
from feature_repo.stores.packed_db import PackedDatabase
from feature_repo.stores.packed_keys import INTEGER, STRING, KeyCodec
from feature_repo.stores.packed_rows import Rows
from feature_repo.stores.packed_writer import BATCH_ROWS

LAYOUT = Layout([Field("n", pa.int64())])
WORDS = Layout([Field("n", pa.int64()), Field("text", pa.string())])
INTEGERS = KeyCodec((("id", INTEGER),))
STRINGS = KeyCodec((("id", STRING),))


def write(database: PackedDatabase, keys: list, values: list[int], times: list[int], layout: Layout = LAYOUT) -> None:
    columns: dict[str, pa.Array] = {"n": pa.array(values, pa.int64())}
    if layout is WORDS:
        columns["text"] = pa.array(["x" * (abs(value) % 5) for value in values])
    records = layout.pack(columns, np.array(times, np.int64), None)
    if not keys:
        return
    codec = INTEGERS if isinstance(keys[0], int) else STRINGS
    encoded = np.array(keys, np.int64) if codec is INTEGERS else Blobs.of(pa.array(keys, pa.large_binary()))
    with database.transaction() as writer:
        writer.upsert(writer.declare("p", "v", codec, layout), encoded, records)


def read(database: PackedDatabase, keys: list, layout: Layout = LAYOUT) -> list[int | None]:
    with database.snapshot() as snapshot:
        view = snapshot.catalogue.views.get(("p", "v"))
        found = snapshot.records(view, keys) if view else {}
    return Rows(layout, [found.get(key, layout.blank) for key in keys]).array("n").to_pylist()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_the_latest_row_of_each_key_stays(tmp_path_factory: Any, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from([st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)]), st.binary(max_size=2)]))
    layout = data.draw(st.sampled_from([LAYOUT, WORDS]))
    row = st.tuples(key, st.integers(-9, 9), st.integers(-3, 3))
    database = PackedDatabase(tmp_path_factory.mktemp("db") / "online.db")
    latest: dict[Any, tuple[int, int]] = {}
    for batch in data.draw(st.lists(st.lists(row, max_size=6), max_size=4)):
        write(database, [k for k, _, _ in batch], [v for _, v, _ in batch], [t for _, _, t in batch], layout)
        for k, value, moment in batch:
            if k not in latest or moment >= latest[k][0]:
                latest[k] = (moment, value)
        keys = [*latest, b"absent" if latest and isinstance(next(iter(latest)), bytes) else 77]
        assert read(database, keys, layout) == [latest[k][1] if k in latest else None for k in keys]
    database.close()


def test_a_batch_may_be_as_large_as_declared(tmp_path: Path) -> None:
    database, rows = PackedDatabase(tmp_path / "online.db"), list(range(BATCH_ROWS))
    write(database, rows, rows, rows)
    assert read(database, rows[::7]) == rows[::7]


def test_keys_with_a_common_beginning_are_read_among_many_or_few(tmp_path: Path) -> None:
    database = PackedDatabase(tmp_path / "online.db")
    keys = [b"shared--" + i.to_bytes(2, "big") for i in range(3_000)]
    write(database, keys, list(range(3_000)), [0] * 3_000)
    for step in (1, 2, 30):
        chosen = [*keys[::step], b"shared--", b"shared--\xff"]
        assert read(database, chosen) == [*range(0, 3_000, step), None, None]
    other = [b"other---", *keys[:100]]
    assert read(database, other) == [None, *range(100)]


def test_views_with_confusable_names_are_kept_apart(tmp_path: Path) -> None:
    database = PackedDatabase(tmp_path / "online.db")
    names = [("a_b", "c"), ("a", "b_c"), ("a", "B_C"), ("a", 'x"; DROP TABLE views; --')]
    for value, name in enumerate(names):
        with database.transaction() as writer:
            view = writer.declare(*name, INTEGERS, LAYOUT)
            writer.upsert(view, np.array([1]), LAYOUT.pack({"n": pa.array([value])}, np.zeros(1, np.int64), None))
    with database.snapshot() as snapshot:
        for value, name in enumerate(names):
            record = snapshot.records(snapshot.catalogue.views[name], [1])[1]
            assert Rows(LAYOUT, [record]).array("n").to_pylist() == [value]


def test_readers_never_see_half_a_batch(tmp_path: Path) -> None:
    database, keys, stop = PackedDatabase(tmp_path / "online.db"), list(range(300)), threading.Event()
    write(database, keys, [0] * 300, [0] * 300)
    seen: list[set] = []

    def watch() -> None:
        while not stop.is_set():
            seen.append(set(read(database, keys)))

    watchers = [threading.Thread(target=watch) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    for step in range(1, 15):
        write(database, keys, [step] * 300, [step] * 300)
    stop.set()
    for watcher in watchers:
        watcher.join()
    assert seen
    assert all(len(values) == 1 for values in seen)
    assert set(read(database, keys)) == {14}


def test_one_snapshot_spans_several_reads(tmp_path: Path) -> None:
    database = PackedDatabase(tmp_path / "online.db")
    write(database, [1], [1], [1])
    with database.snapshot() as snapshot:
        view = snapshot.catalogue.views["p", "v"]
        before = snapshot.records(view, [1])
        other = threading.Thread(target=write, args=(database, [1], [2], [2]))
        other.start()
        other.join()
        assert snapshot.records(view, [1]) == before
    assert read(database, [1]) == [2]


CHILD = """
    import sys
    import numpy as np, pyarrow as pa
    from pathlib import Path
    from feature_repo.stores.packed import Field, Layout
    from feature_repo.stores.packed_db import PackedDatabase
    from feature_repo.stores.packed_keys import KeyCodec
    layout, codec = Layout([Field("n", pa.int64())]), KeyCodec((("id", "integer"),))
    database, rows = PackedDatabase(Path(sys.argv[1])), 20_000
    for step in range(1, 10_000):
        times = np.full(rows, step)
        with database.transaction() as writer:
            records = layout.pack({"n": pa.array(times)}, times, None)
            writer.upsert(writer.declare("p", "v", codec, layout), np.arange(rows), records)
        print(step, flush=True)
"""


def test_a_killed_writer_leaves_a_readable_store(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for _ in range(2):
        child.stdout.readline()
    time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    last = max(2, *(int(line) for line in child.stdout.read().split()), 2)
    child.stdout.close()
    database = PackedDatabase(path)
    (value,) = set(read(database, list(range(0, 20_000, 40))))
    assert value in (last, last + 1)
    write(database, [1], [-1], [10**6])
    assert read(database, [1, 2]) == [-1, value]


def test_a_forked_process_opens_the_file_itself(tmp_path: Path) -> None:
    database = PackedDatabase(tmp_path / "online.db")
    write(database, [1], [1], [1])
    assert read(database, [1]) == [1]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert read(database, [1]) == [1]
            write(database, [2], [2], [2])
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert read(database, [1, 2]) == [1, 2]
