"""Writing Parquet: saved data sets, appended feature rows and logs. Nothing half-written is ever visible."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.saved_dataset import SavedDatasetStorage

from feature_repo.data_dir import resolve
from feature_repo.errors import ContractError
from feature_repo.stores.settings import Settings
from feature_repo.stores.sources import HIVE_NULL, is_uri
from feature_repo.stores.view_spec import file_source

ROW_GROUP_ROWS: Final = 122_880
_NUMBERED: Final = re.compile(r"^rows-(\d{6,})\.parquet$")


def save(parts: Iterator[pa.Table], storage: SavedDatasetStorage, settings: Settings, *, allow_overwrite: bool) -> None:
    """Write a saved data set: one file where the path ends in .parquet, else a directory with one file."""
    source = file_source(storage.to_data_source(), "saved data set")
    path = local_path(source.path, settings)
    if path.exists() and not allow_overwrite:
        raise SavedDatasetLocationAlreadyExists(location=source.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        if path.suffix == ".parquet":
            write_parts(parts, temporary)
        else:
            temporary.mkdir()
            write_parts(parts, temporary / "rows-000001.parquet")
        _replace(temporary, path)
    finally:
        _remove(temporary)


def append(table: pa.Table, path: Path) -> None:
    """Add rows to what a source's path means.

    A directory or a path without .parquet gets a new file, a hive-partitioned one a file per partition, a glob a file
    that it matches; none of them is rewritten. A single .parquet file is one file by contract, so it is rewritten.
    """
    if path.suffix == ".parquet" and not path.is_dir() and not _is_glob(path):
        _append_to_file(table, path)
        return
    directory = path if not _is_glob(path) else _glob_directory(path)
    append_partitioned(table, directory, _partition_keys(directory))


def append_partitioned(table: pa.Table, directory: Path, keys: Sequence[str]) -> None:
    """Write a new numbered file below a directory, or one in each `key=value` folder that the rows belong to."""
    directory.mkdir(parents=True, exist_ok=True)
    for folder, rows in _partitions(table, keys):
        target = directory.joinpath(*folder)
        target.mkdir(parents=True, exist_ok=True)
        write_new(iter([rows]), target)


def write_parts(parts: Iterator[pa.Table], path: Path) -> None:
    """Stream tables of one schema to one file, times in microseconds."""
    writer: pq.ParquetWriter | None = None
    try:
        for part in parts:
            if writer is None:
                writer = pq.ParquetWriter(
                    path,
                    part.schema,
                    coerce_timestamps="us",
                    allow_truncated_timestamps=True,
                    compression="zstd",
                    use_dictionary=_repeating(part.schema),
                )
            writer.write_table(part.cast(writer.schema), row_group_size=ROW_GROUP_ROWS)
    finally:
        if writer is not None:
            writer.close()


def _repeating(schema: pa.Schema) -> list[str]:
    """Return the columns worth a dictionary: trying one on floats takes as long as writing them."""
    flat = [
        field.name for field in schema if not pa.types.is_nested(field.type) and not pa.types.is_floating(field.type)
    ]
    lists = [field for field in schema if pa.types.is_list(field.type)]
    return flat + [f"{field.name}.list.element" for field in lists if not pa.types.is_floating(field.type.value_type)]


def local_path(path: str, settings: Settings) -> Path:
    """Resolve a path to write to; raise ContractError for an object store, which this store only reads."""
    if is_uri(path):
        raise ContractError(
            path, expected="a local path to write to", got="a path with a scheme", fix="Write locally, then copy."
        )
    return resolve(path, settings.repo_path)


def _append_to_file(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")

    def parts() -> Iterator[pa.Table]:
        if path.exists():
            with pq.ParquetFile(path) as file:
                schema = file.schema_arrow.remove_metadata()
                for batch in file.iter_batches(ROW_GROUP_ROWS):
                    yield pa.Table.from_batches([batch]).cast(schema)
            yield table.select(schema.names).cast(schema)
        else:
            yield table

    try:
        write_parts(parts(), temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_new(parts: Iterator[pa.Table], directory: Path) -> None:
    """Write the next numbered file; a number that another writer took meanwhile is skipped."""
    temporary = directory / f".{uuid.uuid4().hex}"
    try:
        write_parts(parts, temporary)
        numbers = [_number(path) for path in numbered_files(directory)]
        number = max(numbers, default=0) + 1
        while True:
            try:
                os.link(temporary, directory / f"rows-{number:06d}.parquet")
                return
            except FileExistsError:
                number += 1
    finally:
        temporary.unlink(missing_ok=True)


def numbered_files(directory: Path) -> list[Path]:
    """Return the numbered files that lie in a directory itself, by number."""
    return sorted((path for path in directory.iterdir() if _NUMBERED.match(path.name)), key=_number)


def _number(path: Path) -> int:
    return int(_NUMBERED.match(path.name).group(1))


def _partitions(table: pa.Table, keys: Sequence[str]) -> Iterator[tuple[list[str], pa.Table]]:
    from urllib.parse import quote

    import pyarrow.compute as pc

    if not keys:
        yield [], table
        return
    rest = table.drop_columns(list(keys))
    for values in table.select(keys).group_by(list(keys), use_threads=False).aggregate([]).to_pylist():
        mask = None
        for key in keys:
            value = values[key]
            same = pc.is_null(table[key]) if value is None else pc.equal(table[key], pa.scalar(value, table[key].type))
            mask = same if mask is None else pc.and_(mask, same)
        texts = (HIVE_NULL if values[key] is None else quote(str(values[key]), safe="") for key in keys)
        yield [f"{key}={text}" for key, text in zip(keys, texts, strict=True)], rest.filter(pc.fill_null(mask, False))


def _partition_keys(directory: Path) -> list[str]:
    """Return the keys of the `key=value` folders that lie in a directory already, outermost first."""
    keys: list[str] = []
    while directory.is_dir():
        folder = next((entry for entry in sorted(directory.iterdir()) if entry.is_dir() and "=" in entry.name), None)
        if folder is None:
            return keys
        keys.append(folder.name.split("=", 1)[0])
        directory = folder
    return keys


def _is_glob(path: Path) -> bool:
    return any(mark in str(path) for mark in "*?[")


def _glob_directory(path: Path) -> Path:
    """Return the directory in which a new numbered file matches the glob; raise ContractError where there is none."""
    fixed = path.parent
    while _is_glob(fixed):
        fixed = fixed.parent
    direct = Path("rows-000001.parquet").match(path.name) and not _is_glob(path.parent)
    if direct or path.match("**/*.parquet"):
        return fixed
    raise ContractError(
        path,
        expected="a glob that a new file's name (rows-000001.parquet) matches",
        got="one that it does not",
        fix="Name the directory instead of a glob.",
    )


def _replace(temporary: Path, path: Path) -> None:
    """Move a file or directory into place; an old directory is moved aside first, then removed."""
    if not path.is_dir():
        os.replace(temporary, path)
        return
    aside = path.with_name(f".{path.name}-old-{uuid.uuid4().hex}")
    os.replace(path, aside)
    os.replace(temporary, path)
    shutil.rmtree(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
