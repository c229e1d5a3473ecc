"""What the peers are given: the log, the attributes and the judged users of two cuts, as Parquet.

The folder that describes the test cut holds no event and no label of the test window.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from candidate_gen.interactions import read_interactions
from feature_repo.columns import CONSUMING, ITEM, TARGET_WEIGHT, TIME, USER
from ranking.truth import Truth, read_judged

if TYPE_CHECKING:
    import duckdb

    from feature_repo.workspace import Workspace

_LOG = f"""
SELECT {USER}, {ITEM}, {TIME}, {TARGET_WEIGHT} > 0 AS target, {CONSUMING}
FROM events WHERE {TIME} < ? ORDER BY {TIME}, {USER}, {ITEM}"""


def hand_over(workspace: Workspace, folder: Path) -> Truth:
    """Write the hand-over that quality_peers.py describes; return the truth of the test window, which stays here."""
    periods, repeats = workspace.periods, workspace.allow_repeats
    with workspace.connect() as connection:
        validation = read_judged(connection, periods.validation, allow_repeats=repeats)
        test = read_judged(connection, periods.test, allow_repeats=repeats)
        _write_cut(connection, folder / "validation", validation)
        _write_cut(connection, folder / "test", test)
    relevant = pa.table({USER: validation.users.take(pa.array(validation.user)), ITEM: validation.items})
    pq.write_table(relevant, folder / "validation" / "relevant.parquet")
    return test


def _write_cut(connection: duckdb.DuckDBPyConnection, folder: Path, truth: Truth) -> None:
    write_known(connection, folder, truth.window.start)
    pq.write_table(pa.table({USER: truth.users}), folder / "judged.parquet")


def write_known(connection: duckdb.DuckDBPyConnection, folder: Path, cut: datetime) -> None:
    """Write what is known before a cut: the log, and users and items with their attributes."""
    folder.mkdir(parents=True, exist_ok=True)
    log = connection.sql(_LOG, params=[cut]).to_arrow_table()
    known = read_interactions(connection, cut)
    users = _attributes(known.users, USER, known.user_ids)
    # The truth protocol judges items with an event before the cut only; ours are bound by it through the truth alone.
    items = _attributes(known.items, ITEM, known.item_ids)
    items = items.filter(pc.is_in(items[ITEM], value_set=pc.unique(log[ITEM])))
    tables = {"log": log, "users": users, "items": items}
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")


def _attributes(table: pa.Table, key: str, ids: pa.Array) -> pa.Table:
    """The ids with every attribute but the free text of titles and the time since which a row is known."""
    dropped = [name for name in (key, TIME, "title") if name in table.column_names]
    attributes = table.drop_columns(dropped)
    return pa.table({key: ids} | {name: attributes[name] for name in attributes.column_names})
