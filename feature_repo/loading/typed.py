"""SQL that turns a file's column, whatever type it came in, into a lake column: null where it can't be read."""

from __future__ import annotations

from collections.abc import Sequence

from feature_repo.lake import quote
from feature_repo.loading.mapping import TimeForm

_WHOLE = "-?(0|[1-9][0-9]*)"
_INTEGERS = {
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
}  # fmt: skip
_PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}


def is_integer(sql_type: str) -> bool:
    return sql_type in _INTEGERS


def is_float(sql_type: str) -> bool:
    return sql_type in ("FLOAT", "DOUBLE") or sql_type.startswith("DECIMAL")


def is_time(sql_type: str) -> bool:
    return sql_type.startswith("TIMESTAMP") or sql_type == "DATE"


def raw_text(column: str, nulls: Sequence[str]) -> str:
    """A CSV column without surrounding blanks; null where it says so."""
    text = f"trim({column})"
    return f"CASE WHEN {text} IN ({', '.join(map(quote, ('', *nulls)))}) THEN NULL ELSE {text} END"


def raw_typed(column: str, sql_type: str) -> str:
    """A Parquet column; pandas writes a missing number as NaN."""
    return f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END" if sql_type in ("FLOAT", "DOUBLE") else column


def key(raw: str, sql_type: str, declared: str | None) -> tuple[str, str] | None:
    """Return SQL for an id and the type it is staged in, or None where a column of this type holds no ids.

    Texts stay texts until the whole column is known, unless a type is declared.
    """
    if sql_type in ("VARCHAR", "UUID") or sql_type.startswith("ENUM"):
        text = raw if sql_type == "VARCHAR" else f"CAST({raw} AS VARCHAR)"
        if declared == "int64":
            whole = f"regexp_replace({text}, '\\.0+$', '')"  # 12.0: a number that was beside a missing one
            return f"CASE WHEN regexp_full_match({whole}, '{_WHOLE}') THEN TRY_CAST({whole} AS BIGINT) END", "BIGINT"
        return text, "VARCHAR"
    if is_integer(sql_type):
        return (f"CAST({raw} AS VARCHAR)", "VARCHAR") if declared == "string" else (_bigint(raw), "BIGINT")
    if is_float(sql_type) and declared is not None:
        whole = f"CASE WHEN {raw} = floor({raw}) THEN {_bigint(raw)} END"
        return (f"CAST({whole} AS VARCHAR)", "VARCHAR") if declared == "string" else (whole, "BIGINT")
    return None


def _bigint(raw: str) -> str:
    return f"TRY_CAST({raw} AS BIGINT)"


def number(raw: str) -> str:
    value = f"TRY_CAST({raw} AS DOUBLE)"
    return f"CASE WHEN isfinite({value}) THEN {value} END"


def categories(raw: str, sql_type: str, separator: str | None) -> str:
    """A list of names from a list column, or from a text such as `a|b` or `['a', 'b']` (with its separator)."""
    if sql_type.endswith("[]"):
        parts = f"CAST({raw} AS VARCHAR[])"
    elif separator is None:
        parts = f"[CAST({raw} AS VARCHAR)]"
    else:
        marks = f"CASE WHEN {raw} LIKE '[%]' THEN ' []''\"' ELSE ' ' END"
        parts = f"list_transform(string_split({raw}, {quote(separator)}), lambda part: trim(part, {marks}))"
    return f"coalesce(list_filter({parts}, lambda part: part IS NOT NULL AND part <> ''), []::VARCHAR[])"


def time(raw: str, sql_type: str, form: TimeForm) -> str | None:
    """Return SQL for a UTC time, or None where a number comes without a unit or a format."""
    zone = quote(form.timezone)
    if sql_type == "TIMESTAMP WITH TIME ZONE":
        return raw
    if sql_type in ("TIMESTAMPTZ_NS", "TIMESTAMP_NS"):
        naive = f"make_timestamp(epoch_ns({raw}) // 1000)"
        return f"{naive} AT TIME ZONE {zone if sql_type == 'TIMESTAMP_NS' else quote('UTC')}"
    if is_time(sql_type):
        return f"CAST({raw} AS TIMESTAMP) AT TIME ZONE {zone}"
    text = f"CAST({raw} AS VARCHAR)"
    if form.format is not None:
        parsed = f"try_strptime({text}, {quote(form.format)})"
        has_zone = "%z" in form.format or "%Z" in form.format
        return f"CAST({parsed} AS TIMESTAMPTZ)" if has_zone else f"{parsed} AT TIME ZONE {zone}"
    if form.unit is not None:
        return _since_1970(text, form.unit)
    return _iso(raw, zone) if sql_type == "VARCHAR" else None


def _since_1970(text: str, unit: str) -> str:
    if unit == "ns":
        micros = f"TRY_CAST({text} AS BIGINT) // 1000"
    else:
        micros = f"CAST(TRY_CAST({text} AS DECIMAL(28, 6)) * {_PER_UNIT[unit]} AS BIGINT)"
    return f"TRY(make_timestamp({micros}) AT TIME ZONE 'UTC')"


def _iso(raw: str, zone: str) -> str:
    """ISO 8601; a time without an offset of its own is in `zone`. DuckDB's words (`infinity`) are no times."""
    with_offset = f"regexp_matches({raw}, ':[0-9.]+ *(Z|UTC|[+-][0-9:]+)$')"
    return (
        f"CASE WHEN NOT regexp_matches({raw}, '^[0-9]') THEN NULL "
        f"WHEN {with_offset} THEN TRY_CAST({raw} AS TIMESTAMPTZ) "
        f"ELSE TRY_CAST({raw} AS TIMESTAMP) AT TIME ZONE {zone} END"
    )
