"""The entity table: per cut, every candidate of every requested user with each source's verdict on it.

It is the spine of training sets and a feature view of its own. Beside it `user_candidates` holds each user's list for
retrieval online. Rows are sorted by user, then item; the same log and seed give the same bytes.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from candidate_gen.configured import configured_sources
from candidate_gen.extra_pairs import extra_pairs
from candidate_gen.interactions import Interactions, read_interactions
from candidate_gen.learned_views import write_learned_views
from candidate_gen.pairs import Pairs
from candidate_gen.partitions import PartitionWriter, open_partition, partition_cuts, partition_path
from candidate_gen.pipeline import Progress, Stage, silent
from candidate_gen.requested import Users, requested_users
from candidate_gen.sort_keys import ascending_bits, index_of, sorted_rows
from candidate_gen.standing import Groups
from candidate_gen.suited import with_suited_params
from feature_repo.columns import CREATED, CUT, ITEM, TIME, USER
from feature_repo.errors import DataError, FutureError
from feature_repo.first_stage import (
    CANDIDATE_ITEMS,
    CANDIDATE_SCORES,
    CANDIDATES,
    USER_CANDIDATES,
    candidate_fields,
    user_candidate_fields,
)
from feature_repo.stores.settings import available_cores
from feature_repo.workspace import Workspace

if TYPE_CHECKING:
    import duckdb

_TIME_TYPE = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class CutReport:
    """What one cut took and gave, by the clock: `seconds` in all, `fitting` of them until every source was fitted.

    `fit_seconds`, `score_seconds`: each source's own, which overlap where sources work side by side. `skipped`: why a
    source was left out, by name.
    """

    cut: datetime
    users: int
    rows: int
    seconds: float
    fitting: float
    fit_seconds: dict[str, float]
    score_seconds: dict[str, float]
    skipped: dict[str, str]


def write_candidates(
    workspace: Workspace,
    cuts: list[datetime],
    users: Users = "active",
    *,
    allow_repeats: bool | None = None,
    progress: Progress = silent,
) -> list[CutReport]:
    """Fit stage one at every cut and replace the cut's rows of `candidates`, `user_candidates` and the learned views.

    `allow_repeats` overrides the configuration. Raises FutureError for a cut after the declared clock, DataError for
    one before the first event, ConfigError for sources that can't be made. Cuts done before an error stay written.
    """
    repeats = workspace.allow_repeats if allow_repeats is None else allow_repeats
    configured_sources(workspace.config.candidates)
    with workspace.connect() as connection:
        return [_write_cut(workspace, connection, cut, users, repeats, progress) for cut in sorted(set(cuts))]


def read(workspace: Workspace, cut: datetime, columns: list[str] | None = None) -> pa.Table:
    """Return the entity table's rows of one cut; raises MissingError where it was not written."""
    return open_cut(workspace, cut).read(columns=columns)


def open_cut(workspace: Workspace, cut: datetime) -> pq.ParquetFile:
    """Open the entity table of one cut, to read it a part at a time; raises MissingError where it was not written."""
    return open_partition(workspace, CANDIDATES, cut, command="rankhouse candidates")


def cuts(workspace: Workspace) -> list[datetime]:
    """Return the cuts that the entity table holds, ascending."""
    return partition_cuts(workspace, CANDIDATES)


def fit_stage(
    workspace: Workspace,
    connection: duckdb.DuckDBPyConnection,
    cut: datetime,
    *,
    allow_repeats: bool,
    progress: Progress = silent,
) -> Stage:
    """Read the log before the cut and fit the configured sources on it, in the configured depths."""
    if cut > workspace.now:
        raise FutureError(
            f"cut {cut:%Y-%m-%d %H:%M:%S} UTC",
            expected=f"a time up to the declared clock ({workspace.now:%Y-%m-%d %H:%M:%S.%f} UTC)",
            got=cut.isoformat(),
            fix="Move the cut, or set `now` in rankhouse.yaml.",
        )
    interactions = read_interactions(connection, cut)
    if not len(interactions.user):
        raise DataError(
            f"cut {cut:%Y-%m-%d %H:%M:%S} UTC",
            expected="events before it",
            got="none",
            fix="Stage one learns from events before the cut: move it into the log.",
        )
    config = with_suited_params(workspace, connection, cut, progress=progress)
    depths = {name: source.depth for name, source in config.sources.items()}
    sources = configured_sources(config)
    threads = workspace.config.engine.threads or available_cores()
    return Stage.fit(interactions, sources, depths, allow_repeats=allow_repeats, threads=threads, progress=progress)


def _write_cut(
    workspace: Workspace,
    connection: duckdb.DuckDBPyConnection,
    cut: datetime,
    users: Users,
    allow_repeats: bool,
    progress: Progress,
) -> CutReport:
    start = perf_counter()
    cut = cut.astimezone(UTC)
    stage = fit_stage(workspace, connection, cut, allow_repeats=allow_repeats, progress=progress)
    requested = requested_users(connection, workspace, cut, users)
    codes = stage.interactions.encode_users(requested)
    pair_schema, list_schema = _schemas(workspace, requested.type, stage.interactions.item_ids.type)
    extra = _extra_pairs(workspace, cut)

    def tables(first: int, pairs: Pairs) -> tuple[pa.Table, pa.Table]:
        owners, batch = requested.slice(first, pairs.users), codes[first : first + pairs.users]
        table = _pair_table(pairs, owners, stage, pair_schema)
        if extra:
            drawn = extra_pairs(pairs, batch, stage, extra, seed=workspace.config.candidates.seed)
            table = _with_extra(table, pairs, drawn, owners, stage.interactions)
        return table, _list_table(pairs, owners, stage.interactions, list_schema)

    done = rows = 0
    with ExitStack() as files:
        pairs_file = files.enter_context(PartitionWriter(partition_path(workspace, CANDIDATES, cut), pair_schema))
        lists_file = files.enter_context(PartitionWriter(partition_path(workspace, USER_CANDIDATES, cut), list_schema))
        for pair_table, list_table in stage.work(codes, tables):
            pairs_file.write(pair_table)
            lists_file.write(list_table)
            done, rows = done + list_table.num_rows, rows + pair_table.num_rows
            progress("score", done, len(codes))
    write_learned_views(workspace, stage, requested)
    return CutReport(
        cut=cut,
        users=done,
        rows=rows,
        seconds=perf_counter() - start,
        fitting=stage.fitting,
        fit_seconds=stage.fit_seconds,
        score_seconds=stage.score_seconds,
        skipped=stage.skipped,
    )


def _schemas(workspace: Workspace, user_type: pa.DataType, item_type: pa.DataType) -> tuple[pa.Schema, pa.Schema]:
    times = [(TIME, _TIME_TYPE), (CREATED, _TIME_TYPE)]
    id_type = "int64" if pa.types.is_integer(item_type) else "string"
    pairs = [(USER, user_type), (ITEM, item_type), *times, *candidate_fields(workspace.config)]
    return pa.schema(pairs), pa.schema([(USER, user_type), *times, *user_candidate_fields(id_type)])


def _pair_table(pairs: Pairs, owners: pa.Array, stage: Stage, schema: pa.Schema) -> pa.Table:
    interactions, verdicts = stage.interactions, pairs.columns(stage.skipped)
    columns = {
        USER: owners.take(pa.array(pairs.row)),
        ITEM: interactions.item_ids.take(pa.array(pairs.item)),
        **_stamps(interactions.as_of, len(pairs.row)),
        **{name: _nullable(values) for name, values in verdicts.items()},
    }
    return pa.table([columns[field.name] for field in schema], schema=schema)


def _nullable(values: np.ndarray) -> pa.Array:
    """Return the values with null for NaN."""
    missing = np.isnan(values) if values.dtype.kind == "f" else None
    return pa.array(values, mask=missing if missing is not None and missing.any() else None)


def _extra_pairs(workspace: Workspace, cut: datetime) -> int:
    """How many pairs a user gets beside the union: some at a training cut, none where a list is judged or served."""
    count = workspace.config.candidates.extra_pairs
    return count if count and any(window.start == cut for window in workspace.periods.train) else 0


def _with_extra(
    table: pa.Table, pairs: Pairs, drawn: tuple[np.ndarray, np.ndarray], owners: pa.Array, interactions: Interactions
) -> pa.Table:
    """Add pairs that nobody proposed, in their places; no source has a verdict on them."""
    row, item = drawn
    columns = {
        USER: owners.take(pa.array(row)),
        ITEM: interactions.item_ids.take(pa.array(item)),
        **_stamps(interactions.as_of, len(row)),
    }
    nothing = [columns.get(field.name, pa.nulls(len(row), field.type)) for field in table.schema]
    together = pa.concat_tables([table, pa.table(nothing, schema=table.schema)])
    order = np.lexsort((np.append(pairs.item, item), np.append(pairs.row, row)))
    return together.take(pa.array(order))


def _list_table(pairs: Pairs, owners: pa.Array, interactions: Interactions, schema: pa.Schema) -> pa.Table:
    """Each user's candidates by fused reciprocal rank, best first: what a request reads before it ranks."""
    fused, groups = pairs.fused_score, Groups(pairs.row, pairs.users)
    place = groups.places.astype(np.uint32)
    keys = sorted_rows(ascending_bits(-fused), place, groups.cells, groups.shape).ravel()[groups.cells]
    order = groups.starts + index_of(keys)
    offsets = pa.array(np.append(0, np.cumsum(groups.sizes)).astype(np.int32))
    columns = {
        USER: owners,
        **_stamps(interactions.as_of, pairs.users),
        CANDIDATE_ITEMS: pa.ListArray.from_arrays(offsets, interactions.item_ids.take(pa.array(pairs.item[order]))),
        CANDIDATE_SCORES: pa.ListArray.from_arrays(offsets, pa.array(fused[order])),
    }
    return pa.table([columns[field.name] for field in schema], schema=schema)


def _stamps(cut: datetime, rows: int) -> dict[str, pa.Array]:
    stamp = pa.repeat(pa.scalar(cut, _TIME_TYPE), rows)
    return {TIME: stamp, CREATED: stamp, CUT: stamp}
