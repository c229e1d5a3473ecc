"""Lists for everyone: each is the one that a single request gets, whatever the batch, the rules and the threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.config import OrderConfig, RuleConfig
from feature_repo.errors import DataError
from feature_repo.workspace import Workspace
from ranking.serving import batch
from ranking.serving.batch import all_users, recommend_many
from ranking.serving.path import RequestPath
from ranking.serving.request import Ask

K = 7


def single(path: RequestPath, users: pa.Array, now: datetime) -> list[tuple]:
    """Ask for one user after the other."""
    rows = []
    for user in users.to_pylist():
        answer, _ = path.answer(Ask(user, K), now)
        rows += [(user, one.item, rank, one.score) for rank, one in enumerate(answer.items, start=1)]
    return rows


def rows_of(table: pa.Table) -> list[tuple]:
    return list(zip(*table.to_pydict().values(), strict=True))


def opened(served: Workspace, rules: list[RuleConfig], order: OrderConfig) -> RequestPath:
    serving = served.config.serving.model_copy(update={"rules": rules, "order": order})
    return RequestPath.open(replace(served, config=served.config.model_copy(update={"serving": serving})))


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    ("rules", "order"),
    [
        ([RuleConfig(rule="seen")], OrderConfig()),
        ([RuleConfig(rule="category_cap", params={"most": 2})], OrderConfig(kind="mmr")),
        ([], OrderConfig(kind="calibrated", explore=2, pin=[5])),
    ],
)
def test_everyone_gets_what_a_single_request_gives(
    served: Workspace,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
    rules: list[RuleConfig],
    order: OrderConfig,
    warm: bool,
) -> None:
    monkeypatch.setattr(batch, "FIRST_USERS", 4)
    monkeypatch.setattr(batch, "USERS_AT_ONCE", 9)
    monkeypatch.setattr(batch, "ROWS_AT_ONCE", 50)
    path = opened(served, rules, order)
    if warm:
        path.warm_up()
    assert path.model.scorer.forks == warm
    users = pa.concat_arrays([all_users(served).slice(0, 30), pa.array([987_654])])
    expected = single(path, users, now)
    for workers in (1, 2, 3):
        tables = list(recommend_many(path, users, K, now, workers=workers))
        assert len(tables) == 4
        assert rows_of(pa.concat_tables(tables)) == expected


def test_a_rule_that_needs_a_request_is_refused(served: Workspace, now: datetime) -> None:
    rule = RuleConfig(rule="attribute_equals", params={"column": "item_brand", "from_context": "brand"})
    path = opened(served, [rule], OrderConfig())
    with pytest.raises(DataError, match="context field 'brand'"):
        next(recommend_many(path, all_users(served), K, now))


def test_the_command_writes_every_user_and_the_same_bytes_again(
    served: Workspace, rankhouse: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    for out in (first, second):
        status, said = rankhouse(served, "recommend", "--all", "-k", "5", "--out", str(out))
        assert status == 0, said
    lists = pq.read_table(first)
    users = all_users(served)
    assert f"{lists.num_rows:,} recommendations for {len(users):,} users" in said
    assert lists.column_names == ["user_id", "item_id", "rank", "score"]
    assert lists["user_id"].unique().equals(users)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.parquet", "second.parquet"]


@pytest.mark.parametrize("arguments", [["--all"], ["1", "--all", "--out", "x"], ["1", "--out", "x"], []])
def test_a_user_or_all_of_them(
    served: Workspace, rankhouse: Callable[..., tuple[int, str]], arguments: list[str]
) -> None:
    status, said = rankhouse(served, "recommend", *arguments)
    assert status == 2
    assert "Name a user, or give --all with --out FILE." in said
