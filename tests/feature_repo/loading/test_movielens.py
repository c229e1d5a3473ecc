"""MovieLens in its three layouts, and every way in which a file of it can be broken."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_repo.errors import DataError, FutureError

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"

GENRES = ["unknown", "Action", "Comedy"]
ML_1M = {
    "ratings.dat": "1::10::5::978300760\n1::20::3::978302109\n2::10::4::978301968\n",
    "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
    "movies.dat": "10::Misérables, Les (1995)::Drama|Musical\n20::Alien (1979)::Horror\n".encode("latin-1"),
}
ML_100K = {
    "u.data": "196\t242\t3\t881250949\n186\t302\t4\t891717742\n",
    "u.user": "186|24|M|technician|85711\n196|53|F|other|V1C2A\n",
    "u.item": (
        "242|Kolya (1996)|24-Jan-1997||http://x|0|0|1\n302|unknown||||1|0|0\n303|Señor Ño (1990)|||u|0|1|1\n"
    ).encode("latin-1"),
    "u.genre": "".join(f"{name}|{code}\n" for code, name in enumerate(GENRES)) + "\n",
}
LATEST = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,1,4.5,964982703\n1,2,0.5,964981247\n",
    "movies.csv": 'movieId,title,genres\n1,"President, The (1995)",Comedy|Drama\n2,Amélie,(no genres listed)\n',
    "tags.csv": 'userId,movieId,tag,timestamp\n1,1,funny,964982800\n1,2,"a, b",964982801\n',
}


def test_ml_1m(write, load, rows):
    report = load(write(ML_1M))
    assert (report.name, report.added) == ("ml-1m", {"events": 3, "users": 2, "items": 2})
    assert rows("SELECT user_id, item_id, event_type, value, target_weight, consuming FROM events ORDER BY ALL") == [
        (1, 10, "positive", 5.0, 1.0, True),
        (1, 20, "rating", 3.0, 0.0, True),
        (2, 10, "positive", 4.0, 1.0, True),
    ]
    assert rows("SELECT * EXCLUDE (event_timestamp) FROM users ORDER BY 1") == [
        (1, "F", 1.0, "K-12 student", "4"),
        (2, "M", 56.0, "self-employed", "7"),
    ]
    assert rows("SELECT title, categories, released_at FROM items ORDER BY item_id") == [
        ("Misérables, Les (1995)", ["Drama", "Musical"], datetime(1995, 1, 1, tzinfo=UTC)),
        ("Alien (1979)", ["Horror"], datetime(1979, 1, 1, tzinfo=UTC)),
    ]


def test_ml_100k(write, load, rows):
    load(write(ML_100K))
    assert rows("SELECT user_id, event_type, value, epoch(event_timestamp) FROM events ORDER BY 1") == [
        (186, "positive", 4.0, 891717742),
        (196, "rating", 3.0, 881250949),
    ]
    assert rows("SELECT gender, age, occupation, region FROM users ORDER BY user_id") == [
        ("M", 24.0, "technician", "8"),
        ("F", 53.0, "other", "V"),
    ]
    assert rows("SELECT title, categories, released_at FROM items ORDER BY item_id") == [
        ("Kolya (1996)", ["Comedy"], datetime(1997, 1, 24, tzinfo=UTC)),
        ("unknown", [], None),
        ("Señor Ño (1990)", ["Action", "Comedy"], datetime(1990, 1, 1, tzinfo=UTC)),
    ]


def test_latest_with_tags(write, load, rows):
    load(write(LATEST))
    assert rows("SELECT item_id, event_type, value, consuming FROM events ORDER BY ALL") == [
        (1, "positive", 4.5, True),
        (1, "tag", None, False),
        (2, "rating", 0.5, True),
        (2, "tag", None, False),
    ]
    assert rows("SELECT title, categories, released_at FROM items ORDER BY item_id") == [
        ("President, The (1995)", ["Comedy", "Drama"], datetime(1995, 1, 1, tzinfo=UTC)),
        ("Amélie", [], None),
    ]
    assert rows("SELECT count(*) FROM users") == [(0,)]


def test_latest_without_tags(write, load):
    report = load(write({name: LATEST[name] for name in ("ratings.csv", "movies.csv")}))
    assert report.event_types == {"positive": 1, "rating": 1}


def test_min_rating(write, load, rows):
    load(write(ML_1M), min_rating=5.0)
    assert rows("SELECT value FROM events WHERE target_weight > 0") == [(5.0,)]
    with pytest.raises(DataError, match=r"setting min_rating: expected 5.0, as in the lake, got 3.0"):
        load(write(ML_1M), min_rating=3.0)


def test_another_data_set_in_the_same_lake(write, load, digest):
    load(write(ML_1M))
    before = digest()
    with pytest.raises(DataError, match=r"expected ml-1m, as in the lake, got ml-100k"):
        load(write(ML_100K, "other"))
    assert digest() == before


@pytest.mark.parametrize(
    ("files", "name", "content", "error", "message"),
    [
        (ML_1M, "ratings.dat", "1::10::5::978300760\n1::20::3\n", DataError, r"dat, line 2: expected 4 columns"),
        (ML_1M, "users.dat", "1::F::1::10::48067::x\n", DataError, r"users.dat, line 1: expected 5 columns, got 6"),
        (ML_1M, "ratings.dat", "1::x7::5::978300760\n", DataError, r'row 1, column "item_id": .* number, got \'x7'),
        (ML_1M, "ratings.dat", "1::10::5::978300760\n::10::5::9\n", DataError, r'row 2, column "user_id".* got null'),
        (ML_1M, "ratings.dat", "1::10::5::yesterday\n", DataError, r'row 1, column "timestamp".* a time, got \'yest'),
        (ML_1M, "ratings.dat", "1::10::5::4000000000\n", FutureError, r"1970 to now .* got '4000000000'"),
        (ML_1M, "ratings.dat", "1::10::5::-5\n", DataError, r"1970 to now .* got '-5'"),
        (ML_1M, "ratings.dat", "1::10::good::978300760\n", DataError, r'"rating": expected a number, got \'good'),
        (ML_1M, "ratings.dat", "", DataError, r"ratings.dat: expected rows .* got none"),
        (ML_1M, "movies.dat", "1::A (1999)::X\n1::B (1999)::X\n", DataError, r"item_id 1: .* title 'A \(19.*' and 'B"),
        (ML_1M, "users.dat", "1::F::1::1::4\n1::M::1::1::4\n", DataError, r"user_id 1: .* gender 'F' and 'M'"),
        (ML_1M, "users.dat", "1::F::young::1::4\n", DataError, r'column "age": expected a number, got \'young'),
        (ML_100K, "u.item", "242|Kolya (1996)|24-Jan-1997||x|0|0\n", DataError, r"u.item, line 1: expected 8 columns"),
        (ML_100K, "u.genre", "", DataError, r"u.item, line 1: expected 5 columns"),
        (LATEST, "movies.csv", "movieId,title\n1,A\n", DataError, r"movies.csv, line 1: expected the header movieId,"),
        (LATEST, "ratings.csv", "", DataError, r"ratings.csv: expected rows, got an empty file"),
        (LATEST, "tags.csv", "userId,movieId,tag,timestamp\n1,1,x,soon\n", DataError, r'tags.csv, row 1, column "time'),
    ],
)  # fmt: skip
def test_broken_files_leave_the_lake_as_it_was(write, load, digest, files, name, content, error, message):
    load(write(files))
    before = digest()
    broken = write({**files, name: content}, "broken")
    with pytest.raises(error, match=message):
        load(broken)
    assert digest() == before


def test_equal_rows_of_an_item_are_one(write, load):
    twice = ML_1M["movies.dat"] + b"20::Alien (1979)::Horror\n"
    assert load(write({**ML_1M, "movies.dat": twice})).added["items"] == 2


def test_a_broken_first_load_leaves_no_lake(write, load, lake):
    with pytest.raises(DataError):
        load(write({**ML_1M, "ratings.dat": "x\n"}))
    assert not lake.root.exists()


def test_unknown_directory_and_missing_path(write, load):
    with pytest.raises(DataError, match=r"ml-1m: ratings.dat, .* mapping.yaml, got notes.txt"):
        load(write({"notes.txt": "hello"}))
    with pytest.raises(DataError, match=r"expected a directory or file, got nothing there"):
        load("no/such/place")


@pytest.mark.parametrize(
    ("folder", "events", "users", "items"),
    [
        ("ml-1m-positives", 575_281, 6_040, 3_883),
        ("ml-100k", 100_000, 943, 1_682),
        ("ml-latest-small", 100_836 + 3_683, 0, 9_742),
    ],
)
def test_the_real_files(load, rows, folder, events, users, items):
    if not (DATA / folder).is_dir():
        pytest.skip(f"{DATA / folder} is not there")
    added = load(DATA / folder).added
    assert (added["events"], added.get("users", 0), added["items"]) == (events, users, items)
    assert rows("SELECT count(*) FROM items WHERE title IS NULL OR title LIKE '%Ã%'") == [(0,)]
    undated = rows("SELECT count(*) FROM items WHERE released_at IS NULL AND title LIKE '%(____)'")
    assert undated == [(0,)]
