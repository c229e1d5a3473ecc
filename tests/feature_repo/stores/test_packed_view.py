from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from feature_repo import columns as names
from feature_repo.stores.packed import TIMESTAMP, Blobs, Field, Layout
from feature_repo.stores.packed_keys import KeyCodec
from feature_repo.stores.packed_view import PackedView

ROWS = 50
TYPES = {
    "whole": pa.int64(),
    "short": pa.float32(),
    "flag": pa.bool_(),
    "moment": TIMESTAMP,
    "text": pa.string(),
    "raw": pa.binary(),
    "vector": pa.list_(pa.float32()),
    "flags": pa.list_(pa.bool_()),
    "words": pa.list_(pa.string()),
}


def value(kind: pa.DataType, i: int) -> object:
    if pa.types.is_list(kind):
        return [value(kind.value_type, i + j) for j in range(i % 4)]
    if i % 7 == 3:
        return None
    if kind == pa.bool_():
        return i % 3 == 0
    return f"{i * 37}" * (i % 3) if kind == pa.string() else b"\0x" * (i % 3) if kind == pa.binary() else i


def table() -> pa.Table:
    columns = {name: pa.array([value(kind, i) for i in range(ROWS)], kind) for name, kind in TYPES.items()}
    keys = {"user_id": pa.array([i // 5 for i in range(ROWS)]), "item_id": pa.array([f"i{i:02}" for i in range(ROWS)])}
    times = {names.TIME: pa.array(range(ROWS), TIMESTAMP), names.CREATED: pa.array(range(ROWS), TIMESTAMP)}
    return pa.table({**keys, **columns, **times})


def written(rows: pa.Table, batch: int) -> list[tuple[bytes, bytes]]:
    keys = KeyCodec((("user_id", "integer"), ("item_id", "string")))
    layout = Layout([Field(name, kind) for name, kind in TYPES.items()])
    view = PackedView("project", "view", keys, layout, 0, names.TIME, names.CREATED, {}, None)
    result: list[tuple[bytes, bytes]] = []
    for encoded, records in view.packed(rows, batch):
        assert isinstance(encoded, Blobs)
        result += zip(encoded.to_list(), records.to_list(), strict=True)
    return result


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_rows_in_key_order_are_written_as_shuffled_ones_are(batch: int) -> None:
    rows = table()
    shuffled = rows.take(pa.array(np.random.default_rng(0).permutation(ROWS)))
    expected = written(shuffled, batch)
    assert len(expected) == ROWS
    assert written(rows, batch) == expected


def test_rows_without_a_key_are_left_out_of_an_ordered_table() -> None:
    rows = table()
    holed = rows.set_column(1, "item_id", pa.array([None if i % 11 == 4 else f"i{i:02}" for i in range(ROWS)]))
    kept = [i for i in range(ROWS) if i % 11 != 4]
    assert written(holed, 7) == written(rows.take(pa.array(kept)), 7)
