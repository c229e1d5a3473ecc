"""MovieLens as GroupLens ships it, recognised by its files: ml-100k, ml-1m, and the `latest` family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.columns import EVENT_TYPE, ITEM, ORIGIN, TIME, USER, VALUE
from feature_repo.config import Roles
from feature_repo.errors import DataError
from feature_repo.lake import quote
from feature_repo.loading.dataset import Dataset, Field, Kind, Scan, SourceTable, fingerprint_files
from feature_repo.loading.tables import CsvFormat, csv_relation, first_line, raise_rejects

if TYPE_CHECKING:
    import duckdb

POSITIVE, RATING, TAG = "positive", "rating", "tag"
ROLES = Roles(targets={POSITIVE: 1.0}, consuming=[POSITIVE, RATING])

# The codes of ml-1m's users.dat, in the order of its README.
_OCCUPATIONS = (
    "other", "educator", "artist", "clerical", "student", "customer service", "doctor", "executive", "farmer",
    "homemaker", "K-12 student", "lawyer", "programmer", "retired", "sales", "scientist", "self-employed", "engineer",
    "craftsman", "unemployed", "writer",
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """One way in which GroupLens ships the data: the files it is known by, those it may have, and its reader."""

    name: str
    files: tuple[str, ...]
    optional: tuple[str, ...]
    read: Callable[[duckdb.DuckDBPyConnection, Path, float], dict[str, SourceTable]]


def find_layout(directory: Path) -> Layout | None:
    """Return the layout whose files the directory has, or None."""
    present = {path.name for path in directory.iterdir()}
    return next((layout for layout in LAYOUTS if present.issuperset(layout.files)), None)


def read_movielens(
    connection: duckdb.DuckDBPyConnection, directory: Path, layout: Layout, min_rating: float
) -> Dataset:
    """Describe a MovieLens directory; a rating of at least `min_rating` becomes an event of type `positive`."""
    tables = layout.read(connection, directory, min_rating)
    has_users = "users" in tables
    files = [directory / name for name in (*layout.files, *layout.optional) if (directory / name).exists()]
    kinds = {"gender": "category", "age": "number", "occupation": "category", "region": "category"}
    return Dataset(
        name=layout.name,
        source=directory.resolve().name,
        fingerprint=fingerprint_files(files, f"{layout.name} min_rating={min_rating!r}"),
        tables=tables,
        roles=ROLES,
        event_types=frozenset((POSITIVE, RATING, TAG)),
        user_attributes=kinds if has_users else {},
        id_types={USER: "int64", ITEM: "int64"},
        settings={"min_rating": min_rating},
    )


def _scan(path: Path, columns: list[str], form: CsvFormat) -> Scan:
    return Scan(path.name, csv_relation([path], columns, form))


def _key(name: str, column: str) -> Field:
    value = f"CASE WHEN regexp_full_match(raw_{name}, '[0-9]+') THEN TRY_CAST(raw_{name} AS BIGINT) END"
    return Field(name, Kind.KEY, column, value, sql_type="BIGINT", label=column)


def _ratings(scan: Scan, columns: tuple[str, str, str, str], min_rating: float) -> SourceTable:
    user, item, rating, seconds = columns
    number = f"TRY_CAST({rating} AS DOUBLE)"
    kind = (
        f"CASE WHEN {rating} IS NULL THEN '{TAG}' WHEN {number} >= {min_rating!r} THEN '{POSITIVE}' ELSE '{RATING}' END"
    )
    fields = (
        _key(USER, user),
        _key(ITEM, item),
        _seconds(seconds),
        Field(EVENT_TYPE, Kind.EVENT_TYPE, kind),
        Field(VALUE, Kind.NUMBER, rating, f"TRY_CAST(raw_{VALUE} AS DOUBLE)", label=rating),
        Field(ORIGIN, Kind.CATEGORY, "NULL::VARCHAR"),
    )
    return SourceTable((scan,), fields)


def _seconds(column: str) -> Field:
    hint = "MovieLens writes seconds since 1970: mend the row."
    value = f"TRY(make_timestamp(TRY_CAST(raw_{TIME} AS BIGINT) * 1000000) AT TIME ZONE 'UTC')"
    return Field(TIME, Kind.EVENT_TIME, column, value, label=column, hint=hint)


def _users(scan: Scan, occupation: str) -> SourceTable:
    fields = (
        _key(USER, "user_id"),
        Field("gender", Kind.CATEGORY, "gender"),
        Field("age", Kind.NUMBER, "age", "TRY_CAST(raw_age AS DOUBLE)", label="age"),
        Field("occupation", Kind.CATEGORY, occupation),
        Field("region", Kind.CATEGORY, "zip", "NULLIF(left(trim(raw_region), 1), '')"),
    )
    return SourceTable((scan,), fields)


def _items(scan: Scan, item: str, categories: str, released: str) -> SourceTable:
    fields = (
        _key(ITEM, item),
        Field("title", Kind.TEXT, "title", "trim(raw_title)"),
        Field("categories", Kind.LIST, categories),
        Field("released_at", Kind.RELEASED, released),
    )
    return SourceTable((scan,), fields)


# Some titles end in a space or carry two years: the last "(1995)" counts.
_YEAR = r"TRY_CAST(regexp_extract(title, '.*\((\d{4})[^)]*\)\s*$', 1) AS INTEGER)"
_RELEASE_YEAR = f"make_timestamptz({_YEAR}, 1, 1, 0, 0, 0)"
_GENRES = "CASE WHEN genres IN ('', '(no genres listed)') THEN []::VARCHAR[] ELSE string_split(genres, '|') END"


def _read_1m(_: duckdb.DuckDBPyConnection, directory: Path, min_rating: float) -> dict[str, SourceTable]:
    form = CsvFormat("::", quoted=False, header=False, encoding="latin-1")
    ratings = _scan(directory / "ratings.dat", ["user_id", "item_id", "rating", "timestamp"], form)
    users = _scan(directory / "users.dat", ["user_id", "gender", "age", "occupation", "zip"], form)
    movies = _scan(directory / "movies.dat", ["item_id", "title", "genres"], form)
    names = "[" + ", ".join(quote(name) for name in _OCCUPATIONS) + "]"
    occupation = f"coalesce({names}[TRY_CAST(occupation AS INTEGER) + 1], occupation)"
    return {
        "events": _ratings(ratings, ("user_id", "item_id", "rating", "timestamp"), min_rating),
        "users": _users(users, occupation),
        "items": _items(movies, "item_id", _GENRES, _RELEASE_YEAR),
    }


def _read_100k(connection: duckdb.DuckDBPyConnection, directory: Path, min_rating: float) -> dict[str, SourceTable]:
    pipes = CsvFormat("|", quoted=False, header=False, encoding="latin-1")
    tabs = CsvFormat("\t", quoted=False, header=False, encoding="latin-1")
    genre_file = csv_relation([directory / "u.genre"], ["genre", "code"], pipes)
    genres = connection.execute(f"SELECT genre FROM {genre_file} ORDER BY TRY_CAST(code AS INTEGER)").fetchall()
    raise_rejects(connection)
    flags = [f"genre_{code}" for code in range(len(genres))]
    named = [
        f"CASE WHEN {flag} = '1' THEN {quote(genre)} END"
        for flag, (genre,) in zip(flags, genres, strict=True)
        if genre != "unknown"
    ]
    ratings = _scan(directory / "u.data", ["user_id", "item_id", "rating", "timestamp"], tabs)
    users = _scan(directory / "u.user", ["user_id", "age", "gender", "occupation", "zip"], pipes)
    columns = ["item_id", "title", "released", "video", "url", *flags]
    released = f"coalesce(TRY_CAST(try_strptime(released, '%d-%b-%Y') AS TIMESTAMPTZ), {_RELEASE_YEAR})"
    categories = f"list_filter([{', '.join(named)}], lambda genre: genre IS NOT NULL)"
    return {
        "events": _ratings(ratings, ("user_id", "item_id", "rating", "timestamp"), min_rating),
        "users": _users(users, "occupation"),
        "items": _items(_scan(directory / "u.item", columns, pipes), "item_id", categories, released),
    }


def _check_header(connection: duckdb.DuckDBPyConnection, path: Path, header: str) -> None:
    line = first_line(connection, path, "utf-8")
    if line != header:
        raise DataError(
            f"{path}, line 1",
            expected=f"the header {header}",
            got=line[:120],
            fix="Use the file as GroupLens ships it.",
        )


def _read_latest(connection: duckdb.DuckDBPyConnection, directory: Path, min_rating: float) -> dict[str, SourceTable]:
    form = CsvFormat()
    tags = directory / "tags.csv"
    _check_header(connection, directory / "ratings.csv", "userId,movieId,rating,timestamp")
    _check_header(connection, directory / "movies.csv", "movieId,title,genres")
    movies = _scan(directory / "movies.csv", ["item_id", "title", "genres"], form)
    events = _ratings(
        _scan(directory / "ratings.csv", ["user_id", "item_id", "rating", "timestamp"], form),
        ("user_id", "item_id", "rating", "timestamp"),
        min_rating,
    )
    if tags.exists():
        _check_header(connection, tags, "userId,movieId,tag,timestamp")
        lines = csv_relation([tags], ["user_id", "item_id", "tag", "timestamp"], form)
        tagged = f"(SELECT user_id, item_id, NULL::VARCHAR AS rating, timestamp FROM {lines})"
        events = replace(events, scans=(*events.scans, Scan(tags.name, tagged)))
    return {"events": events, "items": _items(movies, "item_id", _GENRES, _RELEASE_YEAR)}


LAYOUTS = (
    Layout("ml-1m", ("ratings.dat", "users.dat", "movies.dat"), (), _read_1m),
    Layout("ml-100k", ("u.data", "u.user", "u.item", "u.genre"), (), _read_100k),
    Layout("ml-latest", ("ratings.csv", "movies.csv"), ("tags.csv",), _read_latest),
)
