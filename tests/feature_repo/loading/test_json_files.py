"""JSON files: one object a line or an array of objects, typed by all of their values."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime

import pytest

from feature_repo.errors import ConfigError, DataError

EVENTS = [
    {"u": "007", "i": 12, "t": 1714979289, "what": "order", "price": 2},
    {"u": "7", "i": 3, "t": 1714979290.5, "what": "view", "price": None},
    {"u": 'a|ü"', "i": 3, "t": 1714979291, "what": "order", "price": 1.5},
]
MAPPING = """
name: x
events:
  files: {files}
  columns: {{user_id: u, item_id: i, event_timestamp: t, event_type: what, value: price}}
  time: {{unit: s}}
  types: {{order: {{weight: 1}}, view: {{}}}}
"""


def _lines(objects: list[dict]) -> str:
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects)


@pytest.mark.parametrize("name", ["e.jsonl", "e.ndjson", "e.json", "array.json", "e.jsonl.gz"])
def test_lines_arrays_and_gzip(write, load, rows, name):
    text = json.dumps(EVENTS) if name == "array.json" else _lines(EVENTS)
    source = write({"mapping.yaml": MAPPING.format(files=name)})
    data = text.encode()
    (source / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    report = load(source)
    assert (report.user_id_type, report.item_id_type) == ("string", "int64")
    assert rows("SELECT user_id, item_id, event_type, value FROM events ORDER BY event_timestamp") == [
        ("007", 12, "order", 2.0),
        ("7", 3, "view", None),
        ('a|ü"', 3, "order", 1.5),
    ]
    [(at,)] = rows("SELECT max(event_timestamp) FROM events WHERE event_type = 'view'")
    assert at.astimezone(UTC) == datetime(2024, 5, 6, 7, 8, 10, 500_000, tzinfo=UTC)


def test_keys_may_be_missing_from_objects_and_files(write, load, rows):
    plain = {"user_id": 1, "item_id": 2, "event_timestamp": "2024-05-06T07:08:09.5+02:00"}
    early = [plain for _ in range(3)]
    late = [{**plain, "item_id": 3, "value": 4}]
    source = write({"mapping.yaml": "name: x\nevents: {files: 'e*.jsonl'}\n", "e1.jsonl": _lines(early)})
    (source / "e2.jsonl").write_text(_lines(late), encoding="utf-8")
    load(source)
    assert rows("SELECT item_id, value, count(*) FROM events GROUP BY ALL ORDER BY ALL") == [(2, None, 3), (3, 4.0, 1)]


def test_attributes_lists_and_numbers(write, load, rows):
    items = [
        {"item_id": "1", "categories": ["a, b", "c"], "price": 3, "maker": "NULL"},
        {"item_id": "2", "categories": "d", "price": 2.5, "maker": True},
        {"item_id": "3", "categories": None, "price": None, "maker": {"name": "x"}},
    ]
    mapping = "name: x\nevents: {files: e.csv}\nitems: {files: i.jsonl, attributes: {price: number, maker: category}}\n"
    events = "user_id,item_id,event_timestamp\n1,1,2024-01-01\n"
    load(write({"mapping.yaml": mapping, "e.csv": events, "i.jsonl": _lines(items)}))
    assert rows("SELECT item_id, categories, price, maker FROM items ORDER BY item_id") == [
        ("1", ["a, b", "c"], 3.0, "NULL"),
        ("2", ["d"], 2.5, "true"),
        ("3", [], None, '{"name":"x"}'),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_lines(EVENTS) + '{"u": 1,\n', "e.jsonl: expected JSON: one object a line.*Malformed JSON"),
        ("1\n2\n", "e.jsonl: expected .*got"),
        ("", "e.jsonl: expected .*got"),
        (_lines([{**EVENTS[0], "t": "soon"}]), r"e.jsonl.*t.*soon"),
        (_lines([{**EVENTS[0], "u": None}]), "null or blank"),
    ],
)
def test_broken_files_are_told(write, load, lake, text, message):
    with pytest.raises(DataError, match=f"(?s){message}"):
        load(write({"mapping.yaml": MAPPING.format(files="e.jsonl"), "e.jsonl": text}))
    assert not lake.exists()


def test_one_format_in_a_section(write, load):
    files = {"e.jsonl": _lines(EVENTS), "e.csv": "user_id\n1\n", "mapping.yaml": MAPPING.format(files="'e.*'")}
    with pytest.raises(ConfigError, match="csv and json"):
        load(write(files))
