"""CSV and Parquet files as SQL relations; a CSV file is read as text, typing it is the fields' business."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import DataError
from feature_repo.lake import quote

if TYPE_CHECKING:
    import duckdb

# A control character that no text file uses: reading with it as the delimiter gives whole lines.
_NO_DELIMITER = "\x1f"


@dataclass(frozen=True)
class CsvFormat:
    """How a CSV file is written: delimiter (up to four bytes), quoting, header line, encoding."""

    delimiter: str = ","
    quoted: bool = True
    header: bool = True
    encoding: str = "utf-8"


def identifier(name: str) -> str:
    """Quote a name as an SQL identifier.

    >>> identifier('a "b"')
    '"a ""b\"""'
    """
    return '"' + name.replace('"', '""') + '"'


def csv_relation(paths: list[Path], columns: list[str], form: CsvFormat) -> str:
    """Return an SQL relation over CSV files of one layout; every column is text, faulty lines go to `reject_errors`."""
    types = ", ".join(f"{quote(name)}: 'VARCHAR'" for name in columns)
    mark = '"' if form.quoted else ""
    return (
        f"read_csv({_list(paths)}, auto_detect = false, columns = {{{types}}}, delim = {quote(form.delimiter)}, "
        f"quote = {quote(mark)}, escape = {quote(mark)}, header = {str(form.header).lower()}, "
        f"encoding = {quote(form.encoding)}, store_rejects = true, rejects_limit = 10)"
    )


def parquet_relation(paths: list[Path]) -> str:
    return f"read_parquet({_list(paths)}, union_by_name = true)"


def _list(paths: list[Path]) -> str:
    return "[" + ", ".join(quote(str(path)) for path in paths) + "]"


def first_line(connection: duckdb.DuckDBPyConnection, path: Path, encoding: str) -> str:
    """Return a text file's first line; raise DataError where the file is empty."""
    form = CsvFormat(_NO_DELIMITER, quoted=False, header=False, encoding=encoding)
    row = connection.execute(f"SELECT line FROM {csv_relation([path], ['line'], form)} LIMIT 1").fetchone()
    if row is None or not row[0]:
        raise DataError(path, expected="rows", got="an empty file", fix="Check the download or the export.")
    return row[0].removeprefix("\ufeff").removesuffix("\r")


def raise_rejects(connection: duckdb.DuckDBPyConnection) -> None:
    """Raise DataError for the first line that did not have the file's form, if there is one."""
    known = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'reject_errors'").fetchone()
    if not known[0]:
        return
    row = connection.execute(
        "SELECT file_path, line, error_type::VARCHAR, error_message, csv_line FROM reject_errors "
        "JOIN reject_scans USING (scan_id, file_id) ORDER BY scan_id, line LIMIT 1"
    ).fetchone()
    if row is None:
        return
    path, line, error_type, message, text = row
    expected, got, fix = _explain(error_type, message)
    raise DataError(f"{path}, line {line}", expected=expected, got=f"{got}: {(text or '').strip()[:120]!r}", fix=fix)


def _explain(error_type: str, message: str) -> tuple[str, str, str]:
    """Return expected, got and fix for one of DuckDB's reasons to reject a line."""
    if error_type in ("MISSING COLUMNS", "TOO MANY COLUMNS"):
        expected, _, got = message.removeprefix("Expected Number of Columns: ").partition(" Found: ")
        return (
            f"{expected} columns",
            f"{got.split()[0] if got else 'another number'}",
            "Mend the line or the delimiter.",
        )
    if error_type == "INVALID ENCODING":
        return "text in the declared encoding", "bytes that are not", "Declare the file's `encoding`, e.g. latin-1."
    if error_type == "UNQUOTED VALUE":
        fix = "Close the quote or, where quote marks mean nothing in this file, say `quoted: false` in the mapping."
        return "quote marks around whole values", message.splitlines()[0], fix
    return "a well-formed line", message.splitlines()[0], "Mend the line."
