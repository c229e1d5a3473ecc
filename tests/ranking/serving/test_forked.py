"""Work shared among forked processes: in order, whole where a process dies, with the error that the work raises."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pytest

from ranking.serving.forked import forked

ROWS = 5_000


def numbers(part: int) -> pa.Table:
    """More than a pipe holds, and now and then nothing."""
    rows = ROWS if part % 4 else 0
    return pa.table(
        {"part": pa.array([part] * rows, pa.int64()), "process": pa.array([os.getpid()] * rows, pa.int64())}
    )


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("parts", [0, 1, 2, 11])
def test_tables_come_in_order(parts: int, workers: int) -> None:
    tables = list(forked(numbers, range(parts), workers))
    assert [table["part"].to_pylist() for table in tables] == [
        numbers(part)["part"].to_pylist() for part in range(parts)
    ]
    processes = {process for table in tables for process in table["process"].unique().to_pylist()}
    assert os.getpid() not in processes
    assert len(processes) <= workers


def test_what_a_process_left_undone_is_done_by_its_parent(caplog: pytest.LogCaptureFixture) -> None:
    parent = os.getpid()

    def dying(part: int) -> pa.Table:
        if part >= 4 and part % 2 and os.getpid() != parent:
            os._exit(9)
        return pa.table({"part": [part], "own": [os.getpid() == parent]})

    tables = pa.concat_tables(list(forked(dying, range(9), 2)))
    assert tables["part"].to_pylist() == list(range(9))
    assert tables["own"].to_pylist() == [part >= 4 and part % 2 == 1 for part in range(9)]
    assert caplog.text.count("ended early") == 1


def test_an_error_of_the_work_is_raised() -> None:
    def failing(part: int) -> pa.Table:
        if part == 2:
            raise ValueError(f"part {part}")
        return pa.table({"part": [part]})

    tables = forked(failing, range(5), 2)
    assert [table["part"].to_pylist() for table in islice(tables, 2)] == [[0], [1]]
    with pytest.raises(ValueError, match="part 2"):
        next(tables)


def test_processes_end_with_whoever_asked(tmp_path: Path) -> None:
    def noting(part: int) -> pa.Table:
        (tmp_path / str(os.getpid())).touch()
        return pa.table({"part": pa.array(range(ROWS))})

    tables = forked(noting, range(1_000), 2)
    next(tables)
    tables.close()
    for path in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)
