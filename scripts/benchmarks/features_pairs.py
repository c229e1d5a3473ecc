"""The pair functions of `scripts/bench features`: each on the candidates of one request and on a training set's rows.

The functions are those of the default service and `context`, over computed views and over what stage one learned at the
test cut. Item views are held in memory, as serving holds them; a user's rows come with the request, and every request
has another user and other items. Functions that read the same column are given the same one, as in serving: what the
first of them derives from it, the time of the request in seconds for one, the others find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pyarrow as pa
from report import Row, median, timed

from candidate_gen.entity_table import write_candidates
from feature_repo.data_set import DataSet
from feature_repo.discovery import Definitions, discover
from feature_repo.first_stage import CANDIDATES, ITEM_NEIGHBOURS, ITEM_VECTORS, USER_HISTORY, USER_VECTORS
from feature_repo.lake import parquet
from feature_repo.on_demand import (
    affinity,
    audience,
    context,
    history_similarity,
    recency,
    scorable,
    segment_taste,
    trend,
    vector_products,
)
from feature_repo.on_demand.columns import PairFunction
from feature_repo.on_demand.shared import Shared, Values
from feature_repo.workspace import Workspace
from ranking.serving.memory import settle

FUNCTIONS = (
    affinity, audience, context, history_similarity, recency, scorable, segment_taste, trend, vector_products,
)  # fmt: skip
Given = Callable[[int], dict[str, Shared]]
LEARNED = (CANDIDATES, USER_VECTORS, ITEM_VECTORS, USER_HISTORY, ITEM_NEIGHBOURS)
USERS = 5_000
REQUESTS = 300


@dataclass(frozen=True)
class Stored:
    """One input column as it is known now: the view's join keys and a value per entity."""

    keys: str
    values: pa.Array


def pairs(workspace: Workspace, many: int) -> list[Row]:
    """Measure every function on the pairs of one request and on the rows of a training set, on one core."""
    write_candidates(workspace, [workspace.periods.test.start])
    pa.set_cpu_count(1)
    definitions = discover(DataSet.of(workspace))
    rows, functions, inputs = [], [], {}
    total = dict.fromkeys(("training", "training, processor"), 0.0)
    for module in FUNCTIONS:
        function = function_of(module, definitions)
        known = stored(workspace, function, definitions)
        functions.append(function)
        inputs |= known
        training = frame(workspace, function, known, many)
        seconds, cpu = timed(lambda table=training, run=module.on_arrow: run(table))
        rows.append(Row(f"{many:,} rows", function.name, "s", seconds))
        total["training"] += seconds
        total["training, processor"] += cpu
    rows += requests(functions, request(workspace, functions, inputs, count=300))
    rows.append(Row(f"{many:,} rows", "all", "s", total["training"]))
    rows.append(Row(f"{many:,} rows", "all, processor time", "s", total["training, processor"]))
    return sorted(rows, key=lambda row: row.case)


def requests(functions: list[PairFunction], given: Given) -> list[Row]:
    """Measure requests: all functions one after the other, as in serving; return their medians and that of the sums."""
    once(functions, given(0))
    settle()  # as a server does before its first request
    spent = np.array([once(functions, given(number)) for number in range(1, REQUESTS)]) * 1e3
    named = zip(functions, np.median(spent, axis=0), strict=True)
    rows = [Row("300 candidates", function.name, "ms", float(middle)) for function, middle in named]
    return [*rows, Row("300 candidates", "all", "ms", median(spent.sum(axis=1).tolist()))]


def once(functions: list[PairFunction], columns: dict[str, Shared]) -> list[float]:
    """Return the seconds that each function takes on the columns of a request."""
    return [timed(lambda run=function.on_columns: run(columns))[0] for function in functions]


def function_of(module: ModuleType, definitions: Definitions) -> PairFunction:
    """Return a module's function for what the data set has."""
    if isinstance(module.FUNCTION, PairFunction):
        return module.FUNCTION
    views = {view.name: view for view in definitions.views}
    return module.FUNCTION.of_views(views, [name for name in LEARNED if name in views])


def stored(workspace: Workspace, function: PairFunction, definitions: Definitions) -> dict[str, Stored]:
    """Return a function's inputs by name."""
    columns = {}
    views = {view.name: view for view in definitions.views}
    with workspace.connect() as connection:
        for view, wanted in function.inputs.items():
            keys = ",".join(field.name for field in views[view].entity_columns)
            files = parquet([str(path) for path in workspace.feature_path(view).rglob("*.parquet")])
            rows = connection.sql(
                f"SELECT {', '.join(wanted)} FROM {files} QUALIFY row_number() OVER "
                f"(PARTITION BY {keys} ORDER BY event_timestamp DESC) = 1 ORDER BY {keys}"
            ).to_arrow_table()
            columns |= {name: Stored(keys, rows[name].combine_chunks()) for name in wanted}
    return columns


def request(workspace: Workspace, functions: list[PairFunction], known: dict[str, Stored], count: int) -> Given:
    """Return what makes the columns of a request by its number."""
    held = {name: Values(column.values) for name, column in known.items() if column.keys == "item_id"}
    said = {name: column for function in functions for name, column in asked(workspace, function, count).items()}

    def given(number: int) -> dict[str, Shared]:
        pick = np.random.default_rng(number)
        user, items, pair = pick.integers(0, 1 << 20), pick.integers(0, 1 << 20, count), pick.integers(0, 1 << 20)
        columns = {name: Shared(Values(column)) for name, column in said.items()}
        # The columns of one view have one array of row numbers, as in serving; views have as many rows as items.
        rows = {size: items % size for size in {len(values.array) for values in held.values()}}
        user_row = np.zeros(count, np.int64)
        for name, column in known.items():
            size = len(column.values)
            if column.keys == "item_id":
                columns[name] = Shared(held[name], rows[size])
            elif column.keys == "user_id":
                columns[name] = Shared(Values(column.values.slice(user % size, 1)), user_row)
            else:
                columns[name] = Shared(Values(column.values.slice(pair % (size - count), count)))
        return columns

    return given


def asked(workspace: Workspace, function: PairFunction, count: int) -> dict[str, pa.Array]:
    """Return what comes with the request."""
    columns = {"request_time": pa.array([workspace.now] * count, pa.timestamp("us", tz="UTC"))}
    return columns | {name: pa.array(["one"] * count) for name in function.texts.values()}


def frame(workspace: Workspace, function: PairFunction, known: dict[str, Stored], count: int) -> pa.Table:
    """Return a function's input columns for random pairs of known users and items; lists by number."""
    rng = np.random.default_rng(0)
    columns: dict[str, pa.Array] = {}
    chosen: dict[str, np.ndarray] = {}
    for name, column in known.items():
        limit = min(USERS, len(column.values)) if column.keys == "user_id" else len(column.values)
        number = chosen.setdefault(column.keys, rng.integers(0, limit, count)) % len(column.values)
        used, places = np.unique(number, return_inverse=True)
        values, places = column.values.take(pa.array(used)), pa.array(places.astype(np.int32))
        columns[name] = pa.DictionaryArray.from_arrays(places, values) if _is_list(values) else values.take(places)
    return pa.table(columns | asked(workspace, function, count))


def _is_list(values: pa.Array) -> bool:
    return pa.types.is_list(values.type)
