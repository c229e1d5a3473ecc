from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ranking.export import top_lists, write_lists
from ranking.order import Groups

ROWS = pa.table({"user_id": ["a"] * 3 + ["b"], "item_id": [5, 6, 7, 5]})


def test_lists_are_ranked_from_one_and_ties_go_to_the_smaller_item(tmp_path: Path) -> None:
    lists = top_lists(ROWS, np.array([0.5, 0.9, 0.5, -1.0]), Groups(np.array([3, 1])), k=2)
    assert lists.schema.names == ["user_id", "item_id", "rank", "score"]
    assert lists.to_pydict() == {
        "user_id": ["a", "a", "b"],
        "item_id": [6, 5, 5],
        "rank": [1, 2, 1],
        "score": [0.9, 0.5, -1.0],
    }
    path = tmp_path / "out" / "lists.parquet"
    write_lists(lists, path)
    assert pq.read_table(path).equals(lists)
    assert [file.name for file in path.parent.iterdir()] == ["lists.parquet"]
