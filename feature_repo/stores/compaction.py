"""Many small Parquet files of one folder as few larger ones, the same rows file after file.

A server writes a file of pushed rows or of its log every minute; each is opened by whoever reads the folder. A merged
file appears whole, says in its metadata which files it replaces, and those go after it: where the process dies between
the two, the next run removes them. Until then a reader may see a row twice, which is one row to a point-in-time join.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.stores.parquet_writer import ROW_GROUP_ROWS, numbered_files, write_new

FEWEST: Final = 16
"""A folder with fewer small files is left as it is."""
MOST_BYTES: Final = 128 << 20
"""What a merged file is made of at most; a larger file is not small."""
_REPLACES: Final = b"rankhouse.replaces"


def compact(directory: Path) -> int:
    """Merge the small numbered files of a directory and of those below it; return how many files went.

    Files that are written meanwhile stay as they are. Not for two processes at a time.
    """
    folders = sorted({path.parent for path in directory.rglob("rows-*.parquet")})
    return sum(_compact_folder(folder) for folder in folders)


def _compact_folder(folder: Path) -> int:
    gone = _remove_replaced(folder)
    small = [path for path in numbered_files(folder) if path.stat().st_size <= MOST_BYTES]
    if len(small) < FEWEST:
        return gone
    for files in _groups(small):
        write_new(_rows_of(files), folder)
    return gone + _remove_replaced(folder)


def _remove_replaced(folder: Path) -> int:
    """Remove the files that a merged one stands for."""
    gone = 0
    for path in numbered_files(folder):
        if path.exists():
            metadata = pq.read_schema(path).metadata or {}
            for name in json.loads(metadata.get(_REPLACES, b"[]")):
                gone += (folder / name).exists()
                (folder / name).unlink(missing_ok=True)
    return gone


def _groups(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield neighbours of one schema that are not too large together, two at least."""
    for _, alike in groupby(paths, key=_plain_schema):
        files, size = [], 0
        for path in alike:
            if files and size + path.stat().st_size > MOST_BYTES:
                yield from [files] if len(files) > 1 else []
                files, size = [], 0
            files.append(path)
            size += path.stat().st_size
        yield from [files] if len(files) > 1 else []


def _plain_schema(path: Path) -> pa.Schema:
    return pq.read_schema(path).remove_metadata()


def _rows_of(paths: Sequence[Path]) -> Iterator[pa.Table]:
    """Read files in order, a part at a time; the schema names them as replaced."""
    replaced = {_REPLACES: json.dumps([path.name for path in paths]).encode()}
    for path in paths:
        with pq.ParquetFile(path) as file:
            yield file.schema_arrow.empty_table().replace_schema_metadata(replaced)
            for batch in file.iter_batches(ROW_GROUP_ROWS):
                yield pa.Table.from_batches([batch]).replace_schema_metadata(replaced)
