"""A cut's file: what a row group holds at most."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from candidate_gen import partitions
from candidate_gen.partitions import write_partition


@pytest.mark.parametrize(("limit", "value"), [("ROW_GROUP", 20), ("ROW_GROUP_BYTES", 20 * 8)])
def test_row_groups_are_bounded_in_rows_and_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(partitions, limit, value)
    tables = [pa.table({"n": pa.array(range(start, start + 5), pa.int64())}) for start in range(0, 50, 5)]
    path = tmp_path / "cut" / "part-0.parquet"
    write_partition(path, tables, tables[0].schema)
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [20, 20, 10]
    assert file.read()["n"].to_pylist() == list(range(50))
