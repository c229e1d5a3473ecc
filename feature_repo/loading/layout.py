"""Which columns the files of a mapping's section have, and of which types."""

from __future__ import annotations

import csv
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from feature_repo.errors import ConfigError, DataError, did_you_mean
from feature_repo.loading import typed
from feature_repo.loading.dataset import Scan
from feature_repo.loading.json_files import ENDINGS, json_columns, json_relation
from feature_repo.loading.mapping import Files
from feature_repo.loading.tables import CsvFormat, csv_relation, first_line, identifier, parquet_relation

if TYPE_CHECKING:
    import duckdb

_DELIMITERS = (",", "\t", ";", "|", "::")
_PARQUET = (".parquet", ".pq")


@dataclass(frozen=True)
class Layout:
    """Files of one section: their scans, and each column's SQL type (VARCHAR throughout for CSV)."""

    where: str
    scans: tuple[Scan, ...]
    columns: dict[str, str]
    nulls: Sequence[str] | None

    @property
    def is_csv(self) -> bool:
        return self.nulls is not None

    def type_of(self, column: str) -> str:
        return self.columns[column]

    def raw(self, column: str) -> str:
        """SQL for a column as the file has it, with the file's ways to say null."""
        name = identifier(column)
        if self.nulls is not None:
            return typed.raw_text(name, self.nulls)
        return typed.raw_typed(name, self.columns[column])


def find_files(base: Path, section: Files) -> list[Path]:
    """Return the files that a section names (names or globs under `base`), sorted; every pattern must match."""
    found: set[Path] = set()
    for pattern in section.files:
        matches = _matches(base, pattern)
        if not matches:
            present = sorted(entry.name for entry in base.iterdir() if entry.is_file())
            raise DataError(
                base / pattern,
                expected="a file (names and globs are relative to the mapping file)",
                got=f"none; there are {', '.join(present[:8]) or 'no files'}",
                fix=f"Correct `files` in the mapping.{did_you_mean(pattern, present)}",
            )
        found.update(matches)
    return sorted(found)


def _matches(base: Path, pattern: str) -> list[Path]:
    path = base / pattern
    if path.is_file():
        return [path]
    if not any(mark in pattern for mark in "*?["):
        return []
    folder = path.parent
    return [entry for entry in folder.glob("*") if entry.is_file() and fnmatch.fnmatchcase(entry.name, path.name)]


def read_layouts(
    connection: duckdb.DuckDBPyConnection, mapping: Path, files: list[Path], section: Files, named: list[str]
) -> Layout:
    """Look at the files' columns; raise DataError where a column that the mapping names is missing from one of them."""
    formats = {section.format or _format(file) for file in files}
    if len(formats) > 1:
        raise ConfigError(
            f"{mapping}, key files",
            expected="files of one format in a section",
            got=" and ".join(sorted(formats)),
            fix="Name the files of one format.",
        )
    if formats == {"csv"}:
        return _read_csv(connection, mapping, files, section, named)
    read = _read_json if formats == {"json"} else _read_parquet
    return read(connection, mapping, files, named)


def _format(file: Path) -> Literal["csv", "json", "parquet"]:
    """Tell a file's format from its ending; `.gz` after it says nothing about the format."""
    ending = Path(file.stem).suffix if file.suffix == ".gz" else file.suffix
    if ending in _PARQUET:
        return "parquet"
    return "json" if ending in ENDINGS else "csv"


def _read_json(connection: duckdb.DuckDBPyConnection, mapping: Path, files: list[Path], named: list[str]) -> Layout:
    """All files as one: a key that some objects or files leave out is null there."""
    columns = json_columns(connection, files)
    _check_columns(mapping, files[0], list(columns), named)
    return Layout(_where(files), (Scan(_where(files), json_relation(files, columns)),), columns, nulls=None)


def _read_parquet(connection: duckdb.DuckDBPyConnection, mapping: Path, files: list[Path], named: list[str]) -> Layout:
    import duckdb

    types: dict[str, str] = {}
    for file in files:
        try:
            rows = connection.execute(f"DESCRIBE SELECT * FROM {parquet_relation([file])}").fetchall()
        except duckdb.Error as error:
            raise DataError(
                file, expected="a Parquet file", got=str(error).splitlines()[0], fix="Check the file or `format`."
            ) from error
        own = {row[0]: row[1] for row in rows}
        _check_columns(mapping, file, list(own), named)
        _check_same_types(file, files[0], own, types)
        types = types or own
    scan = Scan(_where(files), parquet_relation(files))
    return Layout(_where(files), (scan,), types, nulls=None)


def _check_same_types(file: Path, first: Path, own: dict[str, str], types: dict[str, str]) -> None:
    for name, sql_type in types.items():
        if own.get(name, sql_type) != sql_type:
            raise DataError(
                f"{file}, column {identifier(name)}",
                expected=f"type {sql_type}, as in {first.name}",
                got=own[name],
                fix="Write all files of a table with the same types.",
            )


def _read_csv(
    connection: duckdb.DuckDBPyConnection, mapping: Path, files: list[Path], section: Files, named: list[str]
) -> Layout:
    scans = []
    columns: dict[str, str] = {}
    for file in files:
        form, names = _csv_form(connection, file, section, named)
        _check_columns(mapping, file, names, named)
        scans.append(Scan(file.name, csv_relation([file], names, form)))
        columns = columns or dict.fromkeys(names, "VARCHAR")
        columns = {name: sql_type for name, sql_type in columns.items() if name in names}
    return Layout(_where(files), tuple(scans), columns, section.nulls)


def _csv_form(
    connection: duckdb.DuckDBPyConnection, file: Path, section: Files, named: list[str]
) -> tuple[CsvFormat, list[str]]:
    """Return a file's format and its columns. An undeclared delimiter is the one that explains the first line best."""
    line = first_line(connection, file, section.encoding)

    def explains(delimiter: str) -> tuple[int, int]:
        parts = _split(line, delimiter, section.quoted)
        if section.names is not None:
            return int(len(parts) == len(section.names)), len(parts)
        return len(set(named) & set(parts)), len(parts)

    delimiter = section.delimiter or max(_DELIMITERS, key=explains)
    names = section.names or _split(line, delimiter, section.quoted)
    form = CsvFormat(delimiter, section.quoted, header=section.names is None, encoding=section.encoding)
    return form, names


def _split(line: str, delimiter: str, quoted: bool) -> list[str]:
    if len(delimiter) > 1 or not quoted:
        return line.split(delimiter)
    return next(csv.reader([line], delimiter=delimiter))


def _check_columns(mapping: Path, file: Path, names: list[str], named: list[str]) -> None:
    lower = [name.lower() for name in names]
    twice = [name for name in names if lower.count(name.lower()) > 1]
    if twice:
        raise DataError(
            file,
            expected="distinct column names, in upper and lower case alike",
            got=f"{twice[0]!r} and {twice[1]!r}",
            fix="Rename one of them.",
        )
    missing = [name for name in named if name not in names]
    if missing:
        hint = did_you_mean(missing[0], names)
        raise DataError(
            file,
            expected=f"the columns that {mapping.name} names: {', '.join(dict.fromkeys(named))}",
            got=f"{', '.join(names)} (without {', '.join(missing)})",
            fix=f"Correct `columns` or `delimiter` in the mapping.{hint}",
        )


def _where(files: list[Path]) -> str:
    return files[0].name if len(files) == 1 else f"{files[0].name} to {files[-1].name}"
