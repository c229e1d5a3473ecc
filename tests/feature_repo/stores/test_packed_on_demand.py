from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pyarrow as pa
import pytest

from feature_repo.errors import ContractError
from feature_repo.stores import packed_on_demand
from feature_repo.stores.packed_on_demand import ARROW_TAG, transform


@dataclass
class View:
    """What `transform` asks of Feast's on-demand view."""

    name: str = "sums"
    tags: dict[str, str] = field(default_factory=dict)
    projection: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(name_to_use=lambda: "sums"))

    def transform_arrow(self, inputs: pa.Table, full: bool) -> pa.Table:
        name = "sums__total" if full else "total"
        return pa.table({name: [a + b for a, b in zip(*inputs.to_pydict().values(), strict=True)]})


@dataclass
class Plan:
    full_feature_names: bool
    wanted: tuple[str, ...]

    def on_demand_outputs(self, view: View) -> list[str]:
        return list(self.wanted)


INPUTS = pa.table({"a": [1, 2], "b": [10, 20]})


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("tagged", [False, True])
def test_the_tag_replaces_the_views_own_transformation(
    monkeypatch: pytest.MonkeyPatch, full: bool, tagged: bool
) -> None:
    def on_arrow(table: pa.Table) -> pa.Table:
        return pa.table({"total": [100, 200], "unasked": [0, 0]})

    monkeypatch.setattr(packed_on_demand, "import_module", lambda name: SimpleNamespace(on_arrow=on_arrow))
    packed_on_demand._arrow_function.cache_clear()
    name = "sums__total" if full else "total"
    view = View(tags={ARROW_TAG: "some.module.on_arrow"} if tagged else {})
    result = transform(view, INPUTS, Plan(full, (name,)))
    assert {n: column.to_pylist() for n, column in result.items()} == {name: [100, 200] if tagged else [11, 22]}
    packed_on_demand._arrow_function.cache_clear()


def test_a_transformation_must_return_what_its_schema_says() -> None:
    with pytest.raises(ContractError, match=r'expected a column .totals. .* Did you mean "total"'):
        transform(View(), INPUTS, Plan(False, ("totals",)))


def test_a_view_of_which_nothing_is_asked_is_not_run() -> None:
    assert transform(View(tags={ARROW_TAG: "no.such.module"}), INPUTS, Plan(False, ())) == {}
