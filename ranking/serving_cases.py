"""Which rules and orders the report on serving measures, with parameters that mean something on the data at hand."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.columns import ITEM, TIME
from feature_repo.config import OrderConfig, RuleConfig
from feature_repo.first_stage import published, vector_column
from ranking.serving.ordering import ORDERS
from ranking.serving.parts import make
from ranking.serving.pool import CATEGORIES, USER_CATEGORIES, USER_SHARES
from ranking.serving.rules import RULES, Rule, make_rules

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace
    from ranking.beyond_accuracy import Catalogue

FEW: Final = 10


@dataclass(frozen=True)
class Case:
    """One thing that is measured alone. `places`: so many of the list go to items that can't be relevant.

    `columns`: what is read beside the columns of rules and order; `skipped`: why it can't be measured here.
    """

    kind: str
    name: str
    rules: tuple[RuleConfig, ...] = ()
    order: OrderConfig = field(default_factory=OrderConfig)
    unfamiliar: float | None = None
    places: int = 0
    columns: tuple[str, ...] = ()
    skipped: str = ""


def cases(workspace: Workspace, columns: Collection[str], catalogue: Catalogue) -> list[Case]:
    """Return the configured rules and order, then every kind of rule and order."""
    settings = workspace.config.serving
    rules = [*settings.rules, *_example_rules(workspace, columns, catalogue)]
    orders = [settings.order] if settings.order != OrderConfig() else []
    orders += [OrderConfig(kind="mmr"), *_vector_orders(workspace), OrderConfig(kind="calibrated")]
    orders += [OrderConfig(pin=[_most_popular(catalogue, 1)[0]]), OrderConfig(explore=1)]
    found = [_rule_case(rule, columns) for rule in _distinct(rules)]
    found += [_order_case(order, columns) for order in orders]
    familiarity = (CATEGORIES, USER_CATEGORIES, USER_SHARES)
    missing = "" if set(familiarity) <= set(columns) else "the items have no categories"
    found += [
        Case("order", f"unfamiliar {share:.1f}", unfamiliar=share, columns=familiarity, skipped=missing)
        for share in (0.0, 0.5, 1.0)
    ]
    return found


def _rule_case(rule: RuleConfig, columns: Collection[str]) -> Case:
    """Make the case of one rule; what it says is its name."""
    [(_, made)] = make_rules([rule], "serving.rules")
    return Case("rule", _said(rule.name, rule.params), rules=(rule,), skipped=_why_not(made, columns))


def _why_not(rule: Rule, columns: Collection[str]) -> str:
    if rule.context:
        return f"it needs a request's context ({', '.join(rule.context)})"
    missing = [name for name in rule.columns if name not in columns]
    return f"no view has {', '.join(missing)}" if missing else ""


def _order_case(order: OrderConfig, columns: Collection[str]) -> Case:
    """Make the case of one order. An item that is explored had no event before the cut: it can't be relevant."""
    made = make(ORDERS, order.kind, order.params, what="kind", where="serving.order")
    missing = [name for name in made.columns if name not in columns]
    extra = {name: value for name, value in (("explore", order.explore), ("pin", order.pin)) if value}
    return Case(
        "order",
        _said(order.kind if order.kind != "none" or not extra else "", {**order.params, **extra}),
        order=order,
        places=order.explore,
        skipped=f"no view has {', '.join(missing)}" if missing else "",
    )


def _said(name: str, params: dict[str, Any]) -> str:
    """Return a name with its parameters, long lists cut short.

    >>> _said("deny", {"items": [1, 2, 3, 4, 5]})
    'deny items: 5 values'
    """
    texts = [
        f"{key}: {len(value)} values" if isinstance(value, list) and len(value) > 3 else f"{key}: {value}"
        for key, value in params.items()
    ]
    return " ".join([*([name] if name else []), ", ".join(texts)]).strip()


def _distinct(rules: list[RuleConfig]) -> list[RuleConfig]:
    return [rule for place, rule in enumerate(rules) if rule not in rules[:place]]


def _example_rules(workspace: Workspace, columns: Collection[str], catalogue: Catalogue) -> list[RuleConfig]:
    """Return a rule of every kind: it removes something on most data, and not nearly everything."""
    items = _items(workspace)
    attribute, values = _attribute(workspace, items)
    popular = _most_popular(catalogue, len(catalogue.items) // 2)
    quarter = float(np.quantile(catalogue.targets, 0.25)) + 1.0
    params: dict[str, dict[str, Any]] = {
        "seen": {},
        "recently_shown": {"times": 1},
        "available": {"start": "item_released_at"},
        "fresh": {"days": _usual_age(workspace, items)},
        "allow": {"items": popular},
        "deny": {"items": popular[:FEW]},
        "attribute_in": {"column": attribute, "values": values[1:] or values},
        "attribute_equals": {"column": attribute, "value": values[0] if values else ""},
        "minimum": {"column": "item_targets_all", "least": quarter},
        "category_cap": {"most": 3},
    }
    return [RuleConfig(rule=name, params=params[name]) for name in RULES]


def _vector_orders(workspace: Workspace) -> list[OrderConfig]:
    vectors = [vector_column("item", source) for source in published(workspace.config, "vectors")]
    return [OrderConfig(kind="mmr", params={"by": name}) for name in vectors[:1]]


def _most_popular(catalogue: Catalogue, count: int) -> list[int | str]:
    """Return the items with the most target events, at least one item."""
    best = np.argsort(-catalogue.targets, kind="stable")[: max(count, 1)]
    return catalogue.items.take(pa.array(best)).to_pylist()


def _items(workspace: Workspace) -> pa.Table:
    """Return the items as they were known at the test cut."""
    with workspace.connect() as connection:
        return connection.sql(
            f"SELECT * FROM items WHERE {TIME} <= $cut "
            f"QUALIFY row_number() OVER (PARTITION BY {ITEM} ORDER BY {TIME} DESC) = 1 ORDER BY {ITEM}",
            params={"cut": workspace.periods.test.start},
        ).to_arrow_table()


def _attribute(workspace: Workspace, items: pa.Table) -> tuple[str, list[str]]:
    """Return the column of the items' first category attribute (else their categories) and its values, often first."""
    kinds = workspace.lake.manifest().item_attributes
    name = next((name for name, kind in kinds.items() if kind == "category"), None)
    column = items["categories"] if name is None else items[name]
    values = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    counts = values.drop_null().value_counts().to_pylist()
    ordered = sorted(counts, key=lambda count: (-count["counts"], str(count["values"])))
    return CATEGORIES if name is None else f"item_{name}", [count["values"] for count in ordered]


def _usual_age(workspace: Workspace, items: pa.Table) -> float:
    """Return how many days old the older half of the items is at least, one day where no time is known."""
    if "released_at" not in items.column_names or items["released_at"].null_count == items.num_rows:
        return 1.0
    times = np.sort(items["released_at"].drop_null().cast(pa.int64()).to_numpy())
    released = pa.scalar(int(times[len(times) // 2]), items["released_at"].type).as_py()
    return max(round((workspace.periods.test.start - released) / timedelta(days=1)), 1.0)
