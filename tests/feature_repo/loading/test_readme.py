"""The pages's examples are run: what they say is in the lake is in the lake."""

from __future__ import annotations

import re
from pathlib import Path

import feature_repo.loading
from feature_repo.loading.mapping import load_mapping

README = Path(feature_repo.loading.__file__).parent / "README.md"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.S)


def _blocks(kind: str) -> list[str]:
    return [text for name, text in BLOCK.findall(README.read_text(encoding="utf-8")) if name == kind]


def _table(text: str) -> tuple[list[str], list[list[str]]]:
    lines = [re.split(r"  +", line.strip()) for line in text.strip().splitlines()]
    return lines[0], lines[1:]


def test_the_worked_example(write, load, rows):
    events, products = _blocks("csv")
    mapping, *_ = _blocks("yaml")
    load(write({"events.csv": events, "products.csv": products, "mapping.yaml": mapping}, "shop"))
    for table, text in zip(("events", "items"), _blocks("text"), strict=True):
        columns, expected = _table(text)
        shown = ", ".join(f"coalesce(regexp_replace({column}::VARCHAR, '\\+00$', ''), 'NULL')" for column in columns)
        order = "event_timestamp, item_id"
        found = rows(f"SELECT {shown} FROM {table} ORDER BY {order}")
        assert [list(row) for row in found] == expected


def test_every_mapping_on_the_page_is_valid(tmp_path):
    for number, text in enumerate(_blocks("yaml")):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text, encoding="utf-8")
        assert load_mapping(path).name


def test_the_smallest_mapping(write, load, query, tmp_path, rows):
    source = write({"mapping.yaml": _blocks("yaml")[1]})
    query(
        "COPY (SELECT 1 AS user_id, 'a' AS item_id, TIMESTAMP '2024-01-01' AS event_timestamp) "
        f"TO '{source / 'clicks-1.parquet'}'"
    )
    load(source)
    assert rows("SELECT event_type, target_weight, consuming FROM events") == [("interaction", 1.0, True)]


def test_ratings_by_their_value(write, load, rows):
    ratings = "user_id,item_id,event_timestamp,value\n1,1,2024-01-01,4.5\n1,2,2024-01-02,2\n"
    load(write({"mapping.yaml": _blocks("yaml")[2], "ratings.csv": ratings}))
    assert rows("SELECT item_id, event_type, target_weight, consuming FROM events ORDER BY 1") == [
        (1, "liked", 1.0, True),
        (2, "rating", 0.0, True),
    ]


def test_every_key_of_the_mapping_is_on_the_page():
    from feature_repo.config import _keys_of
    from feature_repo.loading.mapping import Mapping

    page = README.read_text(encoding="utf-8")
    assert [key for key in _keys_of(Mapping) if f"{key}" not in page] == []
