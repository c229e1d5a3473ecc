"""Flags that say what stage one knows of a pair: always 0 or 1, also for a pair that it never saw."""

from __future__ import annotations

import pyarrow as pa

from feature_repo.on_demand import scorable

COLUMNS = {
    "sources_count": pa.array([2, 0, None], pa.int32()),
    "als_zscore": pa.array([0.5, None, None], pa.float32()),
    "popular_zscore": pa.array([None, 3.0, None], pa.float32()),
    "review_score": pa.array([1.0, 2.0, 3.0]),  # not stage one's
    "request_time": pa.nulls(3, pa.timestamp("us", tz="UTC")),
}


def test_flags_are_never_null() -> None:
    found = scorable.on_arrow(pa.table(COLUMNS)).to_pydict()
    assert found == {"in_union": [1, 0, 0], "als_scorable": [1, 0, 0], "popular_scorable": [0, 1, 0]}


def test_arrow_and_pandas_agree() -> None:
    table = pa.table(COLUMNS)
    frame = scorable.FUNCTION.on_frame(table.to_pandas())
    assert pa.Table.from_pandas(frame, preserve_index=False).equals(scorable.on_arrow(table))
    assert scorable.on_arrow(table.slice(0, 0)).num_rows == 0
