from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.stores import compaction
from feature_repo.stores.compaction import FEWEST, compact
from feature_repo.stores.parquet_writer import append_partitioned, numbered_files


def rows(start: int, stop: int, **more: pa.Array) -> pa.Table:
    texts = pa.array([None if i % 5 == 0 else [f"{i}"] * (i % 3) for i in range(start, stop)], pa.list_(pa.string()))
    times = pa.array(range(start, stop), pa.timestamp("us", "UTC"))
    return pa.table({"n": pa.array(range(start, stop)), "words": texts, "time": times, **more})


def written(folder: Path, files: int, step: int = 3) -> pa.Table:
    parts = [rows(i * step, (i + 1) * step) for i in range(files)]
    for part in parts:
        append_partitioned(part, folder, [])
    return pa.concat_tables(parts)


def read(folder: Path) -> pa.Table:
    tables = [pq.read_table(path, partitioning=None) for path in numbered_files(folder)]
    return pa.concat_tables(tables, promote_options="permissive").replace_schema_metadata()


def test_many_small_files_become_one(tmp_path: Path) -> None:
    expected = written(tmp_path, 40)
    assert compact(tmp_path) == 40
    assert [path.name for path in numbered_files(tmp_path)] == ["rows-000041.parquet"]
    assert read(tmp_path).equals(expected)
    append_partitioned(rows(0, 2), tmp_path, [])
    assert [path.name for path in numbered_files(tmp_path)] == ["rows-000041.parquet", "rows-000042.parquet"]
    assert compact(tmp_path) == 0


def test_few_files_and_a_missing_folder_are_left_alone(tmp_path: Path) -> None:
    written(tmp_path, FEWEST - 1)
    assert compact(tmp_path) == 0
    assert len(numbered_files(tmp_path)) == FEWEST - 1
    assert compact(tmp_path / "nowhere") == 0


def test_partitions_are_merged_each_by_itself(tmp_path: Path) -> None:
    for number in range(2 * FEWEST):
        day = pa.array([f"2026-01-0{1 + number % 2}"] * 3)
        append_partitioned(rows(number, number + 3, day=day), tmp_path, ["day"])
    before = {folder: read(folder) for folder in tmp_path.iterdir()}
    assert compact(tmp_path) == 2 * FEWEST
    assert {folder: len(numbered_files(folder)) for folder in before} == dict.fromkeys(before, 1)
    assert all(read(folder).equals(table) for folder, table in before.items())


def test_files_of_another_schema_or_size_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, FEWEST)
    append_partitioned(rows(0, 3, extra=pa.array([1, 2, 3])), tmp_path, [])
    largest = max(path.stat().st_size for path in numbered_files(tmp_path)[:FEWEST])
    before = read(tmp_path)
    monkeypatch.setattr(compaction, "MOST_BYTES", 5 * largest)
    compact(tmp_path)
    sizes = [pq.read_metadata(path).num_rows for path in numbered_files(tmp_path)]
    assert sizes[0] == 3
    assert sum(sizes) == before.num_rows
    assert max(sizes) < FEWEST * 3
    assert read(tmp_path).sort_by("n").select(["n"]).equals(before.sort_by("n").select(["n"]))


@pytest.mark.parametrize("dies_after", [0, 7])
def test_a_run_that_dies_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_after: int
) -> None:
    expected, unlink, left = written(tmp_path, 20), Path.unlink, [dies_after]

    def dying(path: Path, *, missing_ok: bool = False) -> None:
        if path.name.startswith("rows-"):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", dying)
        with pytest.raises(KeyboardInterrupt):
            compact(tmp_path)
    assert set(read(tmp_path)["n"].to_pylist()) == set(expected["n"].to_pylist())
    assert compact(tmp_path) == 20 - dies_after
    assert read(tmp_path).equals(expected)


def test_files_that_come_meanwhile_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, write = written(tmp_path, FEWEST), compaction.write_new

    def late(*given: object) -> None:
        append_partitioned(rows(900, 902), tmp_path, [])
        write(*given)

    monkeypatch.setattr(compaction, "write_new", late)
    assert compact(tmp_path) == FEWEST
    assert read(tmp_path).sort_by("n").equals(pa.concat_tables([expected, rows(900, 902)]).combine_chunks())
