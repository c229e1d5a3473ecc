"""What was served is what the offline store says for the same times, also after events; a planted skew is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("httpx", reason="FastAPI's test client needs httpx")

from fastapi.testclient import TestClient

from feature_repo import store
from feature_repo.building.parts import PUSHED
from feature_repo.errors import MissingError
from feature_repo.workspace import Workspace
from ranking.refresh import refresh
from ranking.serving.app import create
from ranking.skew import measure_skew

LOOPBACK = ("127.0.0.1", 50_000)


def with_serving(workspace: Workspace, **settings: object) -> Workspace:
    """The workspace with other settings for serving, registered."""
    serving = workspace.config.serving.model_copy(update=settings)
    changed = Workspace(
        workspace.data_dir, workspace.config.model_copy(update={"serving": serving}), workspace.config_path
    )
    store.apply(changed)
    return changed


@pytest.fixture(scope="module")
def logged(served: Workspace, copy_of: Callable[[Workspace], Workspace]) -> Workspace:
    """A workspace that served requests before and after events, was refreshed, and served again; all of it logged."""
    workspace = with_serving(copy_of(served), log_share=1.0)
    [event_type] = workspace.lake.manifest_roles().consuming[:1]
    for _ in range(2):
        serve_some(workspace, event_type)
        # Opened anew, as a command does: the clock has moved.
        workspace = Workspace(workspace.data_dir, workspace.config, workspace.config_path)
        refresh(workspace)
    serve_some(workspace, event_type)
    return workspace


def serve_some(workspace: Workspace, event_type: str) -> None:
    with TestClient(create(workspace), client=LOOPBACK) as client:
        for user in (1, 2, 3):
            first = client.post("/recommend", json={"user": user, "k": 5}).json()["items"][0]["item"]
            event = {"user": user, "item": first, "event_type": event_type}
            assert client.post("/events", json={"events": [event]}).json()["online"]
            client.post("/recommend", json={"user": user, "k": 5, "seed": 3, "context": {"device": "tv"}})
        client.post("/rank", json={"user": 4, "items": [1, 2, 3]})
        client.post("/recommend", json={"user": 987_654, "k": 5})


def rows_of(workspace: Workspace) -> pa.Table:
    return pa.concat_tables(pq.ParquetFile(path).read() for path in log_files(workspace))


def log_files(workspace: Workspace) -> list[Path]:
    return sorted((workspace.lake.root / "served" / workspace.config.service).glob("__log_date=*/*.parquet"))


def test_nothing_differs_before_and_after_events_and_a_refresh(logged: Workspace) -> None:
    report = measure_skew(logged)
    assert report.requests == 3 * 7
    assert report.rows > 200
    assert [column for column in report.columns if column.faults] == []
    score = next(column for column in report.columns if column.column == "served_score")
    assert score.compared > 100
    assert len(report.columns) > 10
    assert report.unchecked == {}


def test_events_lie_in_both_stores(logged: Workspace) -> None:
    pushed = {path.parent.parent.name for path in (logged.data_dir / "features").glob(f"*/{PUSHED}/*.parquet")}
    assert {"user_activity", "user_item", "user_history"} <= pushed
    assert not list((logged.data_dir / "journal").glob("*.arrows"))


def test_the_log_says_what_was_asked_and_answered(logged: Workspace) -> None:
    rows = rows_of(logged)
    assert set(rows["served_rank"].drop_null().to_pylist()) == {1, 2, 3, 4, 5}
    assert any("neighbours" in sources or "stored" in sources for sources in rows["served_sources"].to_pylist())
    assert "caller" in {name for sources in rows["served_sources"].to_pylist() for name in sources}
    asked = [json.loads(text) for text in set(rows["served_request"].to_pylist())]
    assert {"device": "tv"} in [one["context"] for one in asked]
    assert 987_654 not in rows["user_id"].to_pylist()


def test_feast_reads_the_log(logged: Workspace) -> None:
    from datetime import timedelta

    opened = store.open_store(logged)
    job = opened._get_provider().retrieve_feature_service_logs(
        feature_service=opened.get_feature_service(logged.config.service),
        start_date=logged.now - timedelta(days=30),
        end_date=logged.now + timedelta(days=30),
        config=opened.config,
        registry=opened.registry,
    )
    assert job.to_arrow().num_rows == rows_of(logged).num_rows


def numbers_read(table: pa.Table) -> list[str]:
    """The stored numbers that the model read and that most rows have."""
    read = [name.removesuffix("__status") for name in table.column_names if name.endswith("__status")]
    floats = [name for name in read if pa.types.is_floating(table.schema.field(name).type)]
    return [name for name in floats if table[name].null_count < table.num_rows - 5]


@pytest.fixture
def planted(logged: Workspace, copy_of: Callable[[Workspace], Workspace]) -> Workspace:
    """A copy of the logged workspace in which a served value is another, one is null, and one came from nowhere."""
    workspace = copy_of(logged)
    store.apply(workspace)
    path = log_files(workspace)[0]
    table = pq.ParquetFile(path).read()
    name = next(name for name in numbers_read(table))
    place = table.column_names.index(name)
    values = table[name].to_pylist()
    known = [row for row, value in enumerate(values) if value is not None]
    values[known[0]] += 1
    values[known[1]] = None
    table = table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    pq.write_table(table, path)
    return workspace


def test_a_planted_skew_is_found(planted: Workspace, rankhouse: Callable, tmp_path: Path) -> None:
    out = tmp_path / "skew.json"
    status, printed = rankhouse(planted, "skew", "--json", str(out))
    assert status == 1
    [found] = [column for column in json.loads(out.read_text())["columns"] if column["mismatches"] + column["missing"]]
    assert found["column"] == numbers_read(pq.ParquetFile(log_files(planted)[0]).read())[0].partition("__")[2]
    assert (found["mismatches"], found["missing"], found["extra"]) == (1, 1, 0)
    assert f"{found['column']}: user" in printed


def test_rows_that_only_went_online_are_a_skew(
    logged: Workspace, copy_of: Callable[[Workspace], Workspace], rankhouse: Callable
) -> None:
    workspace = copy_of(logged)
    store.apply(workspace)
    for path in (workspace.data_dir / "features").glob(f"*/{PUSHED}/*.parquet"):
        path.unlink()
    report = measure_skew(workspace)
    assert report.faults > 0
    assert next(column for column in report.columns if column.column == "served_score").faults > 0


def test_command_says_that_nothing_differs_and_what_to_do_without_a_log(
    logged: Workspace, served: Workspace, rankhouse: Callable
) -> None:
    status, printed = rankhouse(logged, "skew")
    assert status == 0
    assert "0 of" in printed
    with pytest.raises(MissingError, match="log_share"):
        measure_skew(served)
