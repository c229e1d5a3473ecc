"""Mapping files: what they can say, and one clear message for each way in which mapping and data disagree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from feature_repo.errors import ConfigError, DataError, FutureError
from feature_repo.workspace import Workspace

HEADER = "user_id,item_id,event_timestamp\n"
MINIMAL = "name: x\nevents: {files: e.csv}\n"


def _one_event(text: str) -> str:
    return f"{HEADER}1,2,{text}\n"


@pytest.mark.parametrize(
    ("text", "time", "expected"),
    [
        ("2024-05-06", "{}", "2024-05-06 00:00:00"),
        ("2024-05-06 07:08:09.123456", "{}", "2024-05-06 07:08:09.123456"),
        ("2024-05-06T07:08:09Z", "{}", "2024-05-06 07:08:09"),
        ("2024-05-06T07:08:09+02:00", "{}", "2024-05-06 05:08:09"),
        ("2024-05-06 07:08:09", "{timezone: Europe/Berlin}", "2024-05-06 05:08:09"),
        ("2024-05-06T07:08:09Z", "{timezone: Europe/Berlin}", "2024-05-06 07:08:09"),
        ("06.05.2024 07:08", '{format: "%d.%m.%Y %H:%M"}', "2024-05-06 07:08:00"),
        ("06.05.2024 07:08", '{format: "%d.%m.%Y %H:%M", timezone: Asia/Tokyo}', "2024-05-05 22:08:00"),
        ("2024-05-06 07:08 +0200", '{format: "%Y-%m-%d %H:%M %z"}', "2024-05-06 05:08:00"),
        ("1714979289", "{unit: s}", "2024-05-06 07:08:09"),
        ("1714979289.25", "{unit: s}", "2024-05-06 07:08:09.25"),
        ("1714979289123", "{unit: ms}", "2024-05-06 07:08:09.123"),
        ("1714979289123456", "{unit: us}", "2024-05-06 07:08:09.123456"),
        ("1714979289123456999", "{unit: ns}", "2024-05-06 07:08:09.123456"),
        ("20240506", '{format: "%Y%m%d"}', "2024-05-06 00:00:00"),
    ],
)
def test_times_in_text(write, load, rows, text, time, expected):
    mapping = f"name: x\nevents: {{files: e.csv, time: {time}}}\n"
    load(write({"e.csv": _one_event(text), "mapping.yaml": mapping}))
    assert rows(f"SELECT event_timestamp = TIMESTAMPTZ '{expected}+00' FROM events") == [(True,)]


@pytest.mark.parametrize(
    ("column", "time", "expected"),
    [
        ("TIMESTAMP '2024-05-06 07:08:09.123456'", "{}", "07:08:09.123456"),
        ("TIMESTAMP '2024-05-06 07:08:09'", "{timezone: Europe/Berlin}", "05:08:09"),
        ("TIMESTAMPTZ '2024-05-06 07:08:09+00'", "{timezone: Europe/Berlin}", "07:08:09"),
        ("TIMESTAMP_NS '2024-05-06 07:08:09.123456789'", "{}", "07:08:09.123456"),
        ("TIMESTAMP_MS '2024-05-06 07:08:09.123'", "{}", "07:08:09.123"),
        ("DATE '2024-05-06'", "{}", "00:00:00"),
        ("1714979289::INTEGER", "{unit: s}", "07:08:09"),
        ("1714979289.5::DOUBLE", "{unit: s}", "07:08:09.5"),
        ("20240506", '{format: "%Y%m%d"}', "00:00:00"),
        ("'2024-05-06T07:08:09'", "{}", "07:08:09"),
    ],
)
def test_times_in_parquet(write, load, rows, query, column, time, expected):
    source = write({"mapping.yaml": f"name: x\nevents: {{files: e.parquet, time: {time}}}\n"})
    query(f"COPY (SELECT 1 AS user_id, 2 AS item_id, {column} AS event_timestamp) TO '{source}/e.parquet'")
    load(source)
    assert rows(f"SELECT event_timestamp = TIMESTAMPTZ '2024-05-06 {expected}+00' FROM events") == [(True,)]


def test_nanoseconds_as_pandas_writes_them(write, load, rows):
    import pandas as pd

    source = write({"mapping.yaml": "name: x\nevents: {files: e.parquet}\n"})
    times = pd.to_datetime(["2024-05-06 07:08:09.123456789"], utc=True).as_unit("ns")
    pd.DataFrame({"user_id": [1], "item_id": ["a"], "event_timestamp": times}).to_parquet(source / "e.parquet")
    load(source)
    assert rows("SELECT epoch_us(event_timestamp) FROM events") == [(1714979289123456,)]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", "::"])
@pytest.mark.parametrize("declared", [True, False])
def test_delimiters(write, load, rows, delimiter, declared):
    text = (HEADER + "1,2,2024-01-01\n").replace(",", delimiter)
    shown = {"\t": '"\\t"'}.get(delimiter, f'"{delimiter}"')
    extra = f", delimiter: {shown}" if declared else ""
    load(write({"e.dat": text, "mapping.yaml": f"name: x\nevents: {{files: e.dat{extra}}}\n"}))
    assert rows("SELECT user_id, item_id FROM events") == [(1, 2)]


def test_quotes_byte_order_mark_windows_lines_and_gzip(write, load, rows):
    import gzip

    text = '\ufeff"user_id","item_id","event_timestamp","note"\r\n"u,1","i ""2""","2024-01-01","two\r\nlines"\r\n'
    mapping = "name: x\nevents: {files: [e.csv, f.csv.gz]}\n"
    more = gzip.compress((HEADER + "u2,i2,2024-01-02\n").encode())
    load(write({"e.csv": text, "f.csv.gz": more, "mapping.yaml": mapping}))
    assert rows("SELECT user_id, item_id FROM events ORDER BY ALL") == [("u,1", 'i "2"'), ("u2", "i2")]


def test_files_without_a_header(write, load, rows):
    mapping = """
        name: lastfm
        events:
          files: plays.tsv
          names: [userid, timestamp, artist_id, artist, track_id, track]
          quoted: false
          columns: {user_id: userid, item_id: artist_id, event_timestamp: timestamp}
        items:
          files: plays.tsv
          names: [userid, timestamp, artist_id, artist, track_id, track]
          quoted: false
          columns: {item_id: artist_id, title: artist}
          on_duplicate: keep_one
    """
    plays = (
        'user_1\t2009-05-04T23:08:57Z\tf1b1\tDeep "Dish\tt1\tFuck\n'
        "user_1\t2009-05-04T13:54:10Z\tf1b1\tDeep Dish\tt2\tComposition\n"
    )
    report = load(write({"plays.tsv": plays, "mapping.yaml": mapping}))
    assert report.added == {"events": 2, "items": 1}
    assert rows("SELECT title FROM items") == [('Deep "Dish',)]


def test_globs_read_all_parts_with_columns_in_any_order(write, load, rows):
    other = "event_timestamp,extra,item_id,user_id\n2024-01-02,x,20,2\n"
    files = {"part-1.csv": HEADER + "1,10,2024-01-01\n", "part-2.csv": other}
    load(write({**files, "mapping.yaml": 'name: x\nevents: {files: "part-*.csv"}\n'}))
    assert rows("SELECT user_id, item_id FROM events ORDER BY 1") == [(1, 10), (2, 20)]


def test_roles_thresholds_and_renamed_types(write, load, rows):
    mapping = """
        name: x
        events:
          files: e.csv
          types:
            love: {from: rate, min_value: 5, weight: 2}
            like: {from: [rate, thumb], min_value: 4, weight: 1}
            rated: {from: [rate, thumb], consuming: true}
            view: {}
          ignore: ping
    """
    text = HEADER.strip() + ",event_type,value,origin\n"
    events = [("rate", 5), ("rate", 4), ("thumb", 5), ("rate", 1), ("rate", ""), ("view", ""), ("ping", "")]
    text += "".join(f"1,{n},2024-01-0{n},{kind},{value},organic\n" for n, (kind, value) in enumerate(events, start=1))
    load(write({"e.csv": text, "mapping.yaml": mapping}))
    assert rows("SELECT event_type, value, target_weight, consuming, origin FROM events ORDER BY item_id") == [
        ("love", 5.0, 2.0, True, "organic"),
        ("like", 4.0, 1.0, True, "organic"),
        ("like", 5.0, 1.0, True, "organic"),
        ("rated", 1.0, 0.0, True, "organic"),
        ("rated", None, 0.0, True, "organic"),
        ("view", None, 0.0, False, "organic"),
    ]


def test_attributes_of_every_kind_from_parquet(write, load, rows, query):
    mapping = """
        name: x
        events: {files: e.csv}
        users:
          files: u.parquet
          attributes: {member: category, age: number, note: text, score: {column: s, kind: number}}
        items:
          files: i.parquet
          columns: {title: label, categories: tags}
          released: {format: "%Y"}
    """
    source = write({"e.csv": _one_event("2024-01-01"), "mapping.yaml": mapping})
    query(
        "COPY (SELECT 1::UINTEGER AS user_id, true AS member, 30::SMALLINT AS age, ' hi ' AS note, 'NaN'::DOUBLE AS s) "
        f"TO '{source}/u.parquet'"
    )
    query(
        "COPY (SELECT 2::BIGINT AS item_id, 'T' AS label, ['a', NULL, 'b'] AS tags, 1999 AS released_at) "
        f"TO '{source}/i.parquet'"
    )
    load(source)
    assert rows("SELECT member, age, note, score FROM users") == [("true", 30.0, " hi ", None)]
    assert rows("SELECT title, categories, year(released_at) FROM items") == [("T", ["a", "b"], 1999)]


def test_categories_in_text(write, load, rows):
    mapping = 'name: x\nevents: {files: e.csv}\nitems: {files: i.csv, separator: ","}\n'
    items = "item_id,categories\n1,\"a, b,,c\"\n2,\"['Action', 'Children''s']\"\n3,\n"
    load(write({"e.csv": _one_event("2024-01-01"), "i.csv": items, "mapping.yaml": mapping}))
    assert rows("SELECT categories FROM items ORDER BY item_id") == [
        (["a", "b", "c"],),
        (["Action", "Children''s"],),
        ([],),
    ]


def test_a_mapping_elsewhere(write, load):
    data = write({"e.csv": _one_event("2024-01-01")}, "data")
    mapping = write({"shop.yaml": MINIMAL}, "mappings") / "shop.yaml"
    assert load(data, mapping=mapping).added == {"events": 1}


def _types(text: str) -> str:
    return f"name: x\nevents: {{files: e.csv, {text}}}\n"


TYPED = HEADER.strip() + ",event_type\n1,2,2024-01-01,view\n1,2,2024-01-01,buy\n1,2,2024-01-01,buy\n"


@pytest.mark.parametrize(
    ("mapping", "events", "error", "message"),
    [
        (MINIMAL, "user_id,item,event_timestamp\n1,2,2024-01-01\n", DataError, r'without item_id.*mean "item"'),
        (MINIMAL, "", DataError, r"e.csv: expected rows, got an empty file"),
        (MINIMAL, HEADER, DataError, r"e.csv: expected rows for the table events, got none"),
        (MINIMAL, HEADER + "1,2,2024-01-01\n1,2\n", DataError, r"e.csv, line 3: expected 3 columns, got 2: '1,2'"),
        (MINIMAL, HEADER + "1,2,2024-01-01\n,2,2024-01-01\n", DataError, r'row 2, column "user_id": .* got null'),
        (MINIMAL, HEADER + "1,NaN,2024-01-01\n", DataError, r'row 1, column "item_id": .* got null'),
        (MINIMAL, HEADER + "1,2,2024-01-01\n1,2,\n", DataError, r'row 2, column "event_timestamp": .* got null'),
        (MINIMAL, HEADER + "1,2,2024-01-01\n1,2,tomorrow\n", DataError, r"row 2, .* expected a time, got 'tomorrow'"),
        (MINIMAL, _one_event("1714979289"), DataError, r"expected a time, got '1714979289'.* `unit`"),
        (MINIMAL, _one_event("infinity"), DataError, r"expected a time, got 'infinity'"),
        (MINIMAL, _one_event("2031-01-01"), FutureError, r"1970 to now \(2025-06-01 .*got '2031-01-01'"),
        (MINIMAL, _one_event("1969-12-31"), DataError, r"from 1970 to now .*got '1969-12-31'"),
        (
            MINIMAL,
            HEADER + "1,2,2024-01-01\nann,2,2024-01-01\n",
            DataError,
            r"user_id: expected ids of one type.*'ann'",
        ),
        (MINIMAL, HEADER.replace("item_id", "USER_ID"), DataError, r"distinct column names.*'user_id' and 'USER_ID'"),
        (MINIMAL, b"user_id,item_id,event_timestamp\n\xe9,2,2024-01-01\n", DataError, r"line 2: .*encoding.*latin-1"),
        (
            _types("types: {view: {weight: 1}}"),
            TYPED,
            DataError,
            r"expected a declared event type, got 'buy' \(2 rows\)",
        ),
        (_types("columns: {event_type: event_type}"), TYPED, ConfigError, r"events.types: expected the meaning"),
        (_types("types: {view: {}}"), TYPED, ConfigError, r"above 0: it is the label"),
        (_types("types: {view: {wieght: 1}}"), TYPED, ConfigError, r'types.view.wieght.*mean "weight"'),
        (_types("tpyes: {view: {weight: 1}}"), TYPED, ConfigError, r'Did you mean "types"'),
        (_types("types: {v: {from: view, min_value: 1, weight: 1}}"), TYPED, ConfigError, r"columns.value: expected"),
        (_types("time: {unit: s, format: '%Y'}"), TYPED, ConfigError, r"not both"),
        (_types("time: {timezone: Mars/Base}"), TYPED, ConfigError, r"expected a time zone"),
        (
            _types("types: {view: {weight: 1}}, time: {format: '%Q'}"),
            TYPED,
            ConfigError,
            r"time.format: expected .* got '%Q'",
        ),
        ("name: x\nevents: {files: f.csv}\n", TYPED, DataError, r'f.csv: expected a file .*mean "e.csv"'),
        ("name: x\nevents: {files: 'p-*.csv'}\n", TYPED, DataError, r"p-\*.csv: expected a file .* there are e.csv"),
        ("name: x\n", TYPED, ConfigError, r"key events: expected a value, got nothing"),
        ("events: [", TYPED, ConfigError, r"expected valid YAML"),
    ],
)
def test_broken_events(write, load, lake, mapping, events, error, message):
    source = write({"e.csv": events, "mapping.yaml": mapping})
    with pytest.raises(error, match=message):
        load(source)
    assert not lake.root.exists()


@pytest.mark.parametrize(
    ("section", "items", "error", "message"),
    [
        (
            "{files: i.csv}",
            "item_id,title\n1,A\n1,B\n2,C\n",
            DataError,
            r"item_id 1: expected one row per id.*'A' and 'B'",
        ),
        ("{files: i.csv}", "item_id,title\n1,A\n,B\n", DataError, r'i.csv, row 2, column "item_id"'),
        ("{files: i.csv}", "item_id,title\nX1,A\n", DataError, r"whole numbers in events and texts in items.*'X1'"),
        (
            "{files: i.csv, attributes: {price: number}}",
            "item_id,price\n1,cheap\n",
            DataError,
            r"a number, got 'cheap'",
        ),
        ("{files: i.csv, attributes: {price: number}}", "item_id,cost\n1,2\n", DataError, r"i.csv: .*without price"),
        ("{files: i.csv, attributes: {price: money}}", "item_id,price\n1,2\n", ConfigError, r"items.attributes.price"),
        ("{files: i.csv, attributes: {value: number}}", "item_id,value\n1,2\n", ConfigError, r"expected .*letters"),
        ("{files: i.csv}", "item_id,released_at\n1,soon\n", DataError, r"expected a time, got 'soon'"),
        ("{files: i.csv}", "item_id,event_timestamp\n1,2031-01-01\n", FutureError, r"1970 to now"),
        ("{files: i.csv}", "item_id\n", DataError, r"i.csv: expected rows for the table items, got none"),
    ],
)
def test_broken_items(write, load, lake, section, items, error, message):
    mapping = f"{MINIMAL}items: {section}\n"
    source = write({"e.csv": _one_event("2024-01-01"), "i.csv": items, "mapping.yaml": mapping})
    with pytest.raises(error, match=message):
        load(source)
    assert not lake.root.exists()


@pytest.mark.parametrize(
    ("columns", "time", "error", "message"),
    [
        (
            "1.5 AS user_id, 1 AS item_id, TIMESTAMP '2024-01-01' AS event_timestamp",
            "{}",
            DataError,
            r"whole numbers or texts",
        ),
        ("1 AS user_id, 1 AS item_id, 1714979289 AS event_timestamp", "{}", ConfigError, r"expected `unit: s`"),
        (
            "1 AS user_id, 1 AS item_id, TIMESTAMP '2024-01-01' AS event_timestamp",
            "{unit: s}",
            ConfigError,
            r"neither `unit` nor",
        ),
        (
            "NULL::INT AS user_id, 1 AS item_id, TIMESTAMP '2024-01-01' AS event_timestamp",
            "{}",
            DataError,
            r'row 1, column "user_id"',
        ),
        (
            "[1] AS user_id, 1 AS item_id, TIMESTAMP '2024-01-01' AS event_timestamp",
            "{}",
            DataError,
            r"got type INTEGER\[\]",
        ),
        ("1 AS user_id, 1 AS item", "{}", DataError, r"without item_id, event_timestamp"),
    ],
)
def test_broken_parquet(write, load, lake, query, columns, time, error, message):
    source = write({"mapping.yaml": f"name: x\nevents: {{files: e.parquet, time: {time}}}\n"})
    query(f"COPY (SELECT {columns}) TO '{source}/e.parquet'")
    with pytest.raises(error, match=message):
        load(source)
    assert not lake.root.exists()


def test_a_file_that_is_no_parquet(write, load):
    source = write({"mapping.yaml": "name: x\nevents: {files: e.parquet}\n", "e.parquet": "hello"})
    with pytest.raises(DataError, match=r"e.parquet: expected a Parquet file"):
        load(source)


def test_a_time_just_before_now_is_fine(write, load):
    now = datetime(2025, 6, 1, tzinfo=UTC)
    source = write({"e.csv": _one_event((now - timedelta(seconds=1)).isoformat()), "mapping.yaml": MINIMAL})
    assert load(source).added["events"] == 1


def test_events_without_an_id_can_be_left_out(write, load, rows):
    events = HEADER + "1,2,2024-01-01\n,2,2024-01-01\n1,NULL,2024-01-01\n1, ,2024-01-01\n3,4,2024-01-02\n"
    with pytest.raises(DataError, match=r'column "user_id": expected a value, not null or blank.*on_blank_id: skip'):
        load(write({"e.csv": events, "mapping.yaml": MINIMAL}))
    load(write({"e.csv": events, "mapping.yaml": "name: x\nevents: {files: e.csv, on_blank_id: skip}\n"}))
    assert rows("SELECT user_id, item_id FROM events ORDER BY user_id") == [(1, 2), (3, 4)]


def test_quote_marks_that_mean_nothing(write, load, rows):
    events = 'user_id,item_id,event_timestamp\n1,Deep "Dish,2024-01-01\n1,"Weird" Al,2024-01-02\n'
    with pytest.raises(DataError, match=r"line 3: expected quote marks around whole values.*quoted: false"):
        load(write({"e.csv": events, "mapping.yaml": MINIMAL}))
    load(write({"e.csv": events, "mapping.yaml": "name: x\nevents: {files: e.csv, quoted: false}\n"}))
    assert rows("SELECT item_id FROM events ORDER BY event_timestamp") == [('Deep "Dish',), ('"Weird" Al',)]


def test_whole_numbers_with_a_point(write, load, rows):
    files = {"e.csv": HEADER + "1.0,2,2024-01-01\n12.00,2,2024-01-02\n", "mapping.yaml": MINIMAL}
    load(write({**files, "mapping.yaml": MINIMAL + "id_type: {user_id: int64}\n"}))
    assert rows("SELECT user_id FROM events ORDER BY user_id") == [(1,), (12,)]


def test_a_data_set_says_that_its_users_come_back(write, load, lake, options):
    workspace = Workspace(lake.data_dir, options.config)
    data = {"e.csv": _one_event("2024-01-01")}
    load(write({**data, "mapping.yaml": MINIMAL}))
    assert not workspace.allow_repeats
    load(write({**data, "mapping.yaml": MINIMAL + "allow_repeats: true\n", "e.csv": _one_event("2024-01-02")}))
    assert workspace.allow_repeats
    with pytest.raises(DataError, match="setting allow_repeats: expected True, as in the lake"):
        load(write({"e.csv": _one_event("2024-01-03"), "mapping.yaml": MINIMAL + "allow_repeats: false\n"}))
    assert Workspace(lake.data_dir, options.config.model_copy(update={"allow_repeats": True})).allow_repeats
