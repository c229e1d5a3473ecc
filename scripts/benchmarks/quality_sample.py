"""A data set with fewer users, for `--quick`: the same users every time, with all of their events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from feature_repo.columns import EVENT_TYPE, ITEM, ORIGIN, TIME, USER, VALUE

if TYPE_CHECKING:
    import duckdb

    from feature_repo.workspace import Workspace

_CHOSEN = f"""
CREATE TEMP TABLE chosen AS
SELECT {USER} FROM (SELECT DISTINCT {USER} FROM events) ORDER BY md5({USER}::VARCHAR), {USER} LIMIT ?"""


def write_sample(workspace: Workspace, folder: Path, users: int) -> Path:
    """Write a directory that `rankhouse load` reads: the events of so many users, their rows, and all items."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = ", ".join((USER, ITEM, TIME, EVENT_TYPE, VALUE, ORIGIN))
    with workspace.connect() as connection:
        connection.execute(_CHOSEN, [users])
        _write(connection, f"SELECT {columns} FROM events SEMI JOIN chosen USING ({USER})", folder / "events.parquet")
        _write(connection, f"SELECT * FROM users SEMI JOIN chosen USING ({USER})", folder / "users.parquet")
        _write(connection, "SELECT * FROM items", folder / "items.parquet")
    mapping = folder / "mapping.yaml"
    mapping.write_text(yaml.safe_dump(_mapping(workspace), sort_keys=False), encoding="utf-8")
    return folder


def _write(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(connection.sql(query).to_arrow_table(), path)


def _mapping(workspace: Workspace) -> dict[str, object]:
    manifest = workspace.lake.manifest()
    roles = workspace.lake.roles(workspace.config)
    names = dict.fromkeys([*roles.targets, *roles.consuming])
    types = {
        name: {"from": name, "weight": roles.targets.get(name, 0.0), "consuming": name in roles.consuming}
        for name in names
    }
    mapping: dict[str, object] = {
        "name": f"{manifest.name}-sample",
        "id_type": {USER: manifest.user_id_type, ITEM: manifest.item_id_type},
        "events": {
            "files": "events.parquet",
            "columns": {EVENT_TYPE: EVENT_TYPE, VALUE: VALUE, ORIGIN: ORIGIN},
            "types": types,
        },
    }
    items: dict[str, object] = {"title": "title", "categories": "categories", "released_at": "released_at"}
    mapping["items"] = {"files": "items.parquet", "columns": items, "attributes": dict(manifest.item_attributes)}
    if manifest.files("users"):
        mapping["users"] = {"files": "users.parquet", "attributes": dict(manifest.user_attributes)}
    return mapping
