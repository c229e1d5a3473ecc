"""One type for user ids and one for item ids, in every table and every load: int64 or string."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_repo.columns import ITEM, USER
from feature_repo.errors import DataError
from feature_repo.lake import IdType, Manifest
from feature_repo.loading.dataset import Dataset
from feature_repo.loading.staging import staged

if TYPE_CHECKING:
    import duckdb

_WHOLE = "(0|-?[1-9][0-9]*)"


@dataclass(frozen=True)
class _Profile:
    """The ids of one staged column: the type that the file itself gives them, or, for CSV, what its texts look like.

    `whole` counts whole numbers, `digits` digits of another form ("007"), `texts` everything else.
    """

    table: str
    fixed: IdType | None
    whole: int = 0
    digits: int = 0
    texts: int = 0
    example: str | None = None

    @property
    def has_numbers(self) -> bool:
        return self.fixed == "int64" or self.whole > 0

    @property
    def has_texts(self) -> bool:
        return self.fixed == "string" or self.texts > 0


def resolve_ids(
    connection: duckdb.DuckDBPyConnection, dataset: Dataset, manifest: Manifest | None
) -> dict[str, IdType]:
    """Decide the type of user and item ids and cast the staged tables to it.

    Integers in Parquet and whole numbers in CSV are int64. Texts are strings; so are, in CSV, digits with leading zeros
    and numbers too long for int64. Raises DataError where numbers and texts are mixed without a declared type, and
    where the type is unlike the lake's.
    """
    return {key: _resolve(connection, dataset, key, _in_lake(manifest, key)) for key in (USER, ITEM)}


def _in_lake(manifest: Manifest | None, key: str) -> IdType | None:
    if manifest is None:
        return None
    return manifest.user_id_type if key == USER else manifest.item_id_type


def _resolve(connection: duckdb.DuckDBPyConnection, dataset: Dataset, key: str, lake: IdType | None) -> IdType:
    tables = [name for name, table in dataset.tables.items() if key in table.names()]
    profiles = [_profile(connection, dataset, name, key) for name in tables]
    declared = dataset.id_types.get(key)
    chosen = declared or _infer(dataset, key, profiles, lake)
    if lake is not None and chosen != lake:
        raise DataError(
            f"{dataset.source}, {key}",
            expected=f"ids of type {lake}, as in the lake",
            got=f"{chosen} ids",
            fix=f"Load the same kind of ids (`id_type` in the mapping declares it), or use another --data-dir than the "
            f"one that holds {key}s of type {lake}.",
        )
    for name in tables:
        sql_type = "BIGINT" if chosen == "int64" else "VARCHAR"
        connection.execute(f"ALTER TABLE {staged(name)} ALTER {key} TYPE {sql_type}")
    return chosen


def _profile(connection: duckdb.DuckDBPyConnection, dataset: Dataset, table: str, key: str) -> _Profile:
    staged_type = next(column.sql_type for column in dataset.tables[table].fields if column.name == key)
    if staged_type == "BIGINT":
        return _Profile(table, "int64")
    if staged_type == "VARCHAR":
        example = connection.execute(f"SELECT min({key}) FROM {staged(table)}").fetchone()[0]
        return _Profile(table, "string", example=example)
    whole = f"regexp_full_match({key}, '{_WHOLE}') AND TRY_CAST({key} AS BIGINT) IS NOT NULL"
    digits = f"NOT ({whole}) AND regexp_full_match({key}, '-?[0-9]+')"
    texts = f"NOT regexp_full_match({key}, '-?[0-9]+')"
    counts = connection.execute(
        f"SELECT count(*) FILTER ({whole}), count(*) FILTER ({digits}), count(*) FILTER ({texts}), "
        f"min({key}) FILTER ({texts}) FROM {staged(table)}"
    ).fetchone()
    return _Profile(table, None, *counts)


def _infer(dataset: Dataset, key: str, profiles: list[_Profile], lake: IdType | None) -> IdType:
    fixed = {profile.fixed for profile in profiles}
    if "int64" not in fixed and "string" in {lake, *fixed}:
        return "string"
    numbers = [profile for profile in profiles if profile.has_numbers]
    texts = [profile for profile in profiles if profile.has_texts]
    if numbers and texts:
        raise DataError(
            f"{dataset.source}, {key}",
            expected="ids of one type",
            got=f"whole numbers in {_places(numbers)} and texts in {_places(texts)}, for example {texts[0].example!r}",
            fix=f"If they are texts, declare `id_type: {{{key}: string}}` in the mapping; if all are whole numbers "
            f"(also 12.0), `id_type: {{{key}: int64}}`.",
        )
    return "string" if texts or any(profile.digits for profile in profiles) else "int64"


def _places(profiles: list[_Profile]) -> str:
    return ", ".join(profile.table for profile in profiles)
