"""Ids have one type, found out or declared, in all tables and all loads."""

from __future__ import annotations

import pytest

from feature_repo.errors import DataError

HEADER = "user_id,item_id,event_timestamp\n"


def _events(*ids: str) -> str:
    return HEADER + "".join(f"{user},1,2024-01-0{day}\n" for day, user in enumerate(ids, start=1))


def _mapping(id_type: str = "") -> str:
    return f"name: x\nevents: {{files: e.csv}}\n{f'id_type: {{user_id: {id_type}}}' if id_type else ''}\n"


@pytest.mark.parametrize(
    ("ids", "declared", "expected"),
    [
        (("1", "20"), "", [1, 20]),
        (("-3", "0"), "", [-3, 0]),
        (("9223372036854775807", "1"), "", [1, 9223372036854775807]),
        (("9223372036854775808", "1"), "", ["1", "9223372036854775808"]),
        (("007", "12"), "", ["007", "12"]),
        (("007", "12"), "string", ["007", "12"]),
        (("1", "20"), "string", ["1", "20"]),
        (("B00X", "a b"), "", ["B00X", "a b"]),
        (("B00X", "12"), "string", ["12", "B00X"]),
        (("1.5", "x"), "", ["1.5", "x"]),
        (("1", "20"), "int64", [1, 20]),
        (("Ünï✓", "'; DROP"), "", ["'; DROP", "Ünï✓"]),
    ],
)
def test_the_type_of_ids_in_text(write, load, rows, ids, declared, expected):
    report = load(write({"e.csv": _events(*ids), "mapping.yaml": _mapping(declared)}))
    assert report.user_id_type == ("int64" if isinstance(expected[0], int) else "string")
    assert [row[0] for row in rows("SELECT user_id FROM events ORDER BY 1")] == expected


def test_mixed_ids_are_an_error_that_says_what_to_declare(write, load, lake):
    source = write({"e.csv": _events("1", "x7"), "mapping.yaml": _mapping()})
    with pytest.raises(
        DataError, match=r"whole numbers in events and texts in events.*'x7'.*`id_type: {user_id: string}`"
    ):
        load(source)
    assert not lake.root.exists()


def test_declared_whole_numbers_are_checked(write, load):
    source = write({"e.csv": _events("1", "x7"), "mapping.yaml": _mapping("int64")})
    with pytest.raises(DataError, match=r"row 2, column \"user_id\": expected a whole number, got 'x7'"):
        load(source)


def test_a_later_load_keeps_the_type_of_the_lake(write, load, rows, digest):
    load(write({"e.csv": _events("x7"), "mapping.yaml": _mapping()}))
    load(write({"e.csv": _events("12", "13"), "mapping.yaml": _mapping()}))
    assert rows("SELECT user_id FROM events ORDER BY 1") == [("12",), ("13",), ("x7",)]
    before = digest()
    with pytest.raises(DataError, match=r"expected ids of type string, as in the lake, got int64 ids"):
        load(write({"e.csv": _events("14"), "mapping.yaml": _mapping("int64")}))
    assert digest() == before


def test_texts_do_not_enter_a_lake_of_whole_numbers(write, load, digest):
    load(write({"e.csv": _events("1"), "mapping.yaml": _mapping()}))
    before = digest()
    for ids in (("x7",), ("007",)):
        with pytest.raises(DataError, match=r"expected ids of type int64, as in the lake, got string ids"):
            load(write({"e.csv": _events(*ids), "mapping.yaml": _mapping()}))
    assert digest() == before


@pytest.mark.parametrize(
    ("sql", "declared", "expected"),
    [
        ("1::UTINYINT", "", 1),
        ("1::BIGINT", "string", "1"),
        ("1::DOUBLE", "int64", 1),
        ("1::DOUBLE", "string", "1"),
        ("'1'", "", "1"),
        ("'1'", "int64", 1),
        ("'abcdef01-2345-6789-abcd-ef0123456789'::UUID", "", "abcdef01-2345-6789-abcd-ef0123456789"),
        ("'b'::ENUM('a', 'b')", "", "b"),
    ],
)
def test_ids_in_parquet(write, load, rows, query, sql, declared, expected):
    source = write({"mapping.yaml": _mapping(declared).replace("e.csv", "e.parquet")})
    query(
        f"COPY (SELECT {sql} AS user_id, 1 AS item_id, TIMESTAMP '2024-01-01' AS event_timestamp) "
        f"TO '{source}/e.parquet'"
    )
    load(source)
    assert rows("SELECT user_id FROM events") == [(expected,)]


def test_texts_in_parquet_may_look_like_anything(write, load, rows, query):
    source = write({"mapping.yaml": "name: x\nevents: {files: e.parquet}\nusers: {files: u.csv}\n"})
    query(
        "COPY (SELECT unnest(['1', 'x7', '007']) AS user_id, 1 AS item_id, TIMESTAMP '2024-01-01' AS event_timestamp) "
        f"TO '{source}/e.parquet'"
    )
    load(write({"u.csv": "user_id\n1\n2\n"}))
    assert rows("SELECT DISTINCT user_id FROM events JOIN users USING (user_id)") == [("1",)]


def test_numbers_and_texts_in_two_parquet_tables(write, load, query):
    source = write({"mapping.yaml": "name: x\nevents: {files: e.parquet}\nusers: {files: u.parquet}\n"})
    query(
        f"COPY (SELECT 1 AS user_id, 1 AS item_id, TIMESTAMP '2024-01-01' AS event_timestamp) TO '{source}/e.parquet'"
    )
    query(f"COPY (SELECT 'u1' AS user_id) TO '{source}/u.parquet'")
    with pytest.raises(
        DataError, match=r"user_id: expected ids of one type, got whole numbers in events and texts in u"
    ):
        load(source)
