"""One answered request as rows of Feast's feature log: a row per candidate, as the model saw it.

Feast's own columns: the join keys, `VIEW__FEATURE` with `__timestamp` and `__status` beside it, the request's time,
date and id. A feature that no tree splits on is not read: its status is null. Ours follow: `served_score` (null: a rule
removed the candidate), `served_rank` (null: not in the list), `served_sources`, `served_model`, `served_request`
(JSON).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from feature_repo.columns import ITEM, USER
from feature_repo.on_demand.columns import REQUEST_TIME
from feature_repo.stores.packed_view import NEVER
from ranking.serving.request import Ask
from ranking.serving.retrieve import user_key

if TYPE_CHECKING:
    from feast import FeatureService, FeatureStore

    from feature_repo.stores.packed_answer import Answer
    from ranking.serving.path import Scored

SCORE: Final = "served_score"
RANK: Final = "served_rank"
SOURCES: Final = "served_sources"
MODEL: Final = "served_model"
REQUEST: Final = "served_request"
OWN: Final = {SCORE: pa.float64(), RANK: pa.int32(), SOURCES: pa.list_(pa.string()), MODEL: pa.string(),
              REQUEST: pa.string()}  # fmt: skip
TIMESTAMP_END: Final = "__timestamp"
STATUS_END: Final = "__status"
PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_MAX_AGE = 1, 2, 3, 4
"""Feast's FieldStatus."""
_TIMES: Final = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class LogSchema:
    """The columns of a service's log. `features` maps `VIEW__FEATURE` to the feature's name."""

    schema: pa.Schema
    features: dict[str, str]

    @classmethod
    def of(cls, store: FeatureStore, service: FeatureService) -> LogSchema:
        """Return Feast's schema with times in microseconds (Feast's are whole seconds), and our columns behind it."""
        from feast.feature_logging import FeatureServiceLoggingSource

        fields = [
            pa.field(field.name, _TIMES) if pa.types.is_timestamp(field.type) else field
            for field in FeatureServiceLoggingSource(service, store.project).get_schema(store.registry)
        ]
        features = {
            f"{projection.name_to_use()}__{feature.name}": feature.name
            for projection in service.feature_view_projections
            for feature in projection.features
        }
        return cls(pa.schema([*fields, *(pa.field(name, kind) for name, kind in OWN.items())]), features)


def served_table(schema: LogSchema, scored: Scored, model: str, request_id: str) -> pa.Table:
    """Return a request's rows in the schema's columns."""
    from feast.feature_logging import LOG_DATE_FIELD, LOG_TIMESTAMP_FIELD, REQUEST_ID_FIELD

    rows = len(scored.items)
    columns: dict[str, pa.Array] = {
        USER: user_key(scored.ask.user, rows),
        ITEM: scored.items,
        REQUEST_TIME: _repeated(scored.now, rows, _TIMES),
        LOG_TIMESTAMP_FIELD: _repeated(scored.now, rows, _TIMES),
        LOG_DATE_FIELD: _repeated(scored.now.date(), rows, pa.date32()),
        REQUEST_ID_FIELD: _repeated(request_id, rows, pa.string()),
        SCORE: pa.array(scored.scores, from_pandas=True),
        RANK: _ranks(scored.shown, rows),
        SOURCES: _sources(scored),
        MODEL: _repeated(model, rows, pa.string()),
        REQUEST: _repeated(_request(scored.ask), rows, pa.string()),
    }
    read = set(scored.names)
    for column, feature in schema.features.items():
        if feature in read:
            columns |= dict(_feature(scored.read, column, feature, schema.schema.field(column).type))
    arrays = [columns[field.name] if field.name in columns else pa.nulls(rows, field.type) for field in schema.schema]
    return pa.table(arrays, schema=schema.schema)


def _feature(read: Answer, column: str, feature: str, kind: pa.DataType) -> Iterator[tuple[str, pa.Array]]:
    """Yield a feature, when its row was true, and how it was found."""
    values = read.array(feature)
    null = values.is_null().to_numpy(zero_copy_only=False)
    status = np.where(null, NULL_VALUE, PRESENT)
    if feature in read.stored:
        _, rows, _ = read.stored[feature]
        event = rows.spread(rows.rows.event)
        status[event == NEVER] = NOT_FOUND
        if rows.expired is not None:
            status[rows.spread(rows.expired)] = OUTSIDE_MAX_AGE
        yield column + TIMESTAMP_END, pa.array(event, mask=event == NEVER).cast(pa.timestamp("us")).cast(_TIMES)
    yield column, values if values.type == kind else values.cast(kind)
    yield column + STATUS_END, pa.array(status.astype(np.int32))


def _ranks(shown: np.ndarray, rows: int) -> pa.Array:
    """Return the place in the list from 1, null for what is not in it."""
    ranks = np.zeros(rows, np.int32)
    ranks[shown] = np.arange(1, len(shown) + 1)
    return pa.array(ranks, mask=ranks == 0)


def _sources(scored: Scored) -> pa.Array:
    """Return the ways of retrieval that brought each candidate."""
    names = list(scored.origins)
    marks = np.stack([scored.origins[name] for name in names], axis=1)
    offsets = np.concatenate([[0], np.cumsum(marks.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(names).take(pa.array(np.nonzero(marks)[1])))


def _request(ask: Ask) -> str:
    """Return what was asked for beside the user and the items, as JSON."""
    order = None if ask.order is None else ask.order.model_dump(mode="json")
    rules = [rule.model_dump(mode="json", by_alias=True) for rule in ask.rules]
    asked: dict[str, Any] = {"k": ask.k, "brought": ask.items is not None, "context": dict(ask.context)}
    return json.dumps(asked | {"rules": rules, "order": order, "unfamiliar": ask.unfamiliar, "seed": ask.seed})


def _repeated(value: object, rows: int, kind: pa.DataType) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), rows)
