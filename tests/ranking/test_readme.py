"""The page on judging lists is enough: its scorer comes to the report's figures from the files and the log alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ranking
from feature_repo.workspace import Workspace
from ranking.evaluation import read_report
from ranking.protocol import Protocol

PAGE = (Path(ranking.__file__).parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scorer() -> dict[str, Any]:
    [text] = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    names: dict[str, Any] = {}
    exec(text, names)
    return names


def test_the_pages_scorer_gives_the_figures_of_every_ranking(
    trained: Workspace, rankhouse: Callable, copy_of: Callable, tmp_path: Path, scorer: dict[str, Any]
) -> None:
    copy, folder, lists = copy_of(trained), tmp_path / "judged", tmp_path / "lists.parquet"
    status, printed = rankhouse(copy, "evaluate", "--export", str(lists), "--export-all", str(folder))
    assert status == 0, printed
    with copy.connect() as connection:
        events = connection.sql(
            "SELECT user_id, item_id, event_timestamp AS time, event_type AS type FROM events"
        ).to_arrow_table()
    report = read_report(copy)
    files = {line.name: folder / f"{line.name}.parquet" for line in report.lines}
    assert {path.name for path in folder.iterdir()} == {path.name for path in files.values()} | {"truth.parquet"}
    truth, protocol = scorer["read"](folder / "truth.parquet")
    pairs, catalogue = scorer["relevant_pairs"](events.to_pandas(), protocol)
    order = ["user_id", "item_id"]
    pd.testing.assert_frame_equal(pairs.sort_values(order, ignore_index=True), truth)
    assert (protocol["users"], protocol["pairs"], protocol["catalogue"]) == (
        pairs.user_id.nunique(),
        len(pairs),
        catalogue,
    )
    for name, path in [*files.items(), ("two-stage", lists)]:
        scored = scorer["score"](scorer["read"](path)[0], pairs, catalogue, protocol["k"])
        told = report.line(name).metrics
        assert scored == pytest.approx({metric: told[metric] for metric in scored}, abs=1e-12), name


def test_every_key_of_the_protocol_is_on_the_page() -> None:
    assert [one.name for one in fields(Protocol) if f"`{one.name}`" not in PAGE] == []
