"""Has serving seen what training would see? The served log beside the offline store, for the same pairs and times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.columns import ITEM, TIME, USER
from feature_repo.errors import MissingError, RankhouseError
from ranking import model_store
from ranking.service import service_columns
from ranking.serving.served_rows import MODEL, SCORE, STATUS_END, LogSchema

if TYPE_CHECKING:
    from feast import FeatureService, FeatureStore

    from feature_repo.workspace import Workspace

LOG_TIME: Final = "__log_timestamp"
REQUEST_ID: Final = "__request_id"
"""Feast's names (feast.feature_logging), here so that Feast is imported where it is used."""
BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
END: Final = datetime(9999, 1, 1, tzinfo=UTC)
AT_ONCE: Final = 200_000
"""Logged rows whose features are read from the offline store at once."""


@dataclass
class ColumnSkew:
    """One column: `compared` rows in which it was read; `mismatches`: two values that are not the same; `missing`:
    served as null, the offline store has a value; `extra`: served, the offline store has none. `example`: the first.
    """

    column: str
    compared: int = 0
    mismatches: int = 0
    missing: int = 0
    extra: int = 0
    example: str = ""

    @property
    def faults(self) -> int:
        return self.mismatches + self.missing + self.extra


@dataclass
class SkewReport:
    """`served_score` is one of the columns: what the logged model says of the offline store's features.

    `unchecked` maps a model that can't score any more to the reason. Times are ISO 8601 in UTC.
    """

    service: str
    requests: int = 0
    rows: int = 0
    first: str = ""
    last: str = ""
    columns: list[ColumnSkew] = field(default_factory=list)
    unchecked: dict[str, str] = field(default_factory=dict)

    @property
    def faults(self) -> int:
        return sum(column.faults for column in self.columns)


def measure_skew(
    workspace: Workspace, *, since: datetime = BEGINNING, until: datetime = END, service: str | None = None
) -> SkewReport:
    """Compare what was logged from `since` to `until` (both included) with the offline store as of the same times.

    Values are compared bit for bit, row by row; a feature that a request did not read is not. Raises MissingError where
    nothing was logged.
    """
    from feature_repo.store import feature_service, historical_features, open_store

    store = open_store(workspace)
    contract = feature_service(store, service or workspace.config.service)
    schema = LogSchema.of(store, contract)
    report = SkewReport(contract.name)
    found = {name: ColumnSkew(name) for name in (*schema.features.values(), SCORE)}
    requests: set[str] = set()
    for part in _logged(store, contract, schema, since, until):
        entities = pa.table({USER: part[USER], ITEM: part[ITEM], TIME: part[LOG_TIME]})
        offline = historical_features(workspace, entities, contract.name)
        for column, feature in schema.features.items():
            read = part[column + STATUS_END].is_valid()
            _compare(found[feature], part, part[column], offline[feature], read)
        _compare_scores(workspace, found[SCORE], part, offline, report)
        _note(report, part, requests)
    if not report.rows:
        raise _nothing(workspace, contract)
    report.requests = len(requests)
    report.columns = [column for column in found.values() if column.compared]
    report.columns.sort(key=lambda column: -column.faults)
    return report


def _logged(
    store: FeatureStore, service: FeatureService, schema: LogSchema, since: datetime, until: datetime
) -> Iterator[pa.Table]:
    """Yield logged rows of the time range in parts, in one schema; what an older log lacks is null."""
    from feature_repo.stores.retrieval_job import TableJob

    if service.logging_config is None:
        return
    offline, source = store._get_provider().offline_store, service.logging_config.destination.to_data_source()
    try:
        kinds = dict(offline.get_table_column_names_and_types_from_data_source(store.config, source))
    except MissingError:
        return
    job = offline.pull_all_from_table_or_query(
        config=store.config, data_source=source, join_key_columns=[],
        feature_name_columns=[name for name in schema.schema.names if name in kinds and name != LOG_TIME],
        timestamp_field=LOG_TIME, start_date=since, end_date=until,
    )  # fmt: skip
    parts = job.parts() if isinstance(job, TableJob) else iter([job.to_arrow()])
    held: list[pa.Table] = []
    for part in parts:
        if held and sum(table.num_rows for table in held) + part.num_rows > AT_ONCE:
            yield _one(held, schema)
            held = []
        held.append(part)
    yield from [_one(held, schema)] if sum(table.num_rows for table in held) else []


def _one(parts: list[pa.Table], schema: LogSchema) -> pa.Table:
    table = pa.concat_tables(parts)
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names
        else pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        for field in schema.schema
    ]  # fmt: skip
    return pa.table(columns, schema=schema.schema).combine_chunks()


def _compare(
    column: ColumnSkew, part: pa.Table, served: pa.ChunkedArray, offline: pa.ChunkedArray, read: pa.ChunkedArray
) -> None:
    """Add what a column of some rows shows."""
    offline = offline.cast(served.type)
    here, there = served.is_valid(), offline.is_valid()
    kinds = {
        "mismatches": pc.and_(pc.and_(here, there), pc.fill_null(pc.not_equal(served, offline), False)),
        "missing": pc.and_(pc.invert(here), there),
        "extra": pc.and_(here, pc.invert(there)),
    }
    column.compared += pc.sum(read).as_py() or 0
    for kind, mask in kinds.items():
        rows = np.flatnonzero(pc.and_(mask, read).to_numpy())
        setattr(column, kind, getattr(column, kind) + len(rows))
        if len(rows) and not column.example:
            row = int(rows[0])
            user, item, time = (part[name][row].as_py() for name in (USER, ITEM, LOG_TIME))
            values = f"served {served[row]}, offline {offline[row]}"
            column.example = f"user {user}, item {item}, {time:%Y-%m-%d %H:%M:%S.%f}: {values}"


def _compare_scores(
    workspace: Workspace, column: ColumnSkew, part: pa.Table, offline: pa.Table, report: SkewReport
) -> None:
    """Score the offline store's features with the models that served."""
    for name in pc.unique(part[MODEL]).to_pylist():
        try:
            columns = service_columns(workspace, report.service)
            model = model_store.load(workspace, columns, name)
        except RankhouseError as error:
            report.unchecked[name] = str(error)
            continue
        chosen = pc.and_(pc.equal(part[MODEL], name), part[SCORE].is_valid())
        rows = part.filter(chosen)
        scores = pa.chunked_array([model.score(offline.filter(chosen))])
        _compare(column, rows, rows[SCORE], scores, pa.chunked_array([pa.repeat(True, rows.num_rows)]))


def _note(report: SkewReport, part: pa.Table, requests: set[str]) -> None:
    times = pc.min_max(part[LOG_TIME]).as_py()
    first, last = times["min"].isoformat(), times["max"].isoformat()
    report.first = min(report.first or first, first)
    report.last = max(report.last, last)
    report.rows += part.num_rows
    requests.update(pc.unique(part[REQUEST_ID]).to_pylist())


def _nothing(workspace: Workspace, service: FeatureService) -> MissingError:
    return MissingError(
        f"the served log of {service.name} in {workspace.data_dir}",
        expected="logged requests in this time",
        got="none",
        fix="Set serving.log_share in rankhouse.yaml, run `rankhouse apply` and `rankhouse serve`, and ask something.",
    )
