"""A dealt log: every event once, in the file of its key's range."""

from __future__ import annotations

import pytest

from feature_repo.building import shares
from feature_repo.building.shares import dealt


@pytest.mark.parametrize("batch", [1 << 21, 7])
@pytest.mark.parametrize("part", [1, 40, 10**6])
@pytest.mark.parametrize("key", ["user_id", "item_id"])
def test_every_event_lies_in_its_share(small_workspace, monkeypatch, key: str, part: int, batch: int) -> None:
    monkeypatch.setattr(shares, "PART", part)
    monkeypatch.setattr(shares, "BATCH", batch)
    workspace = small_workspace(3)
    with dealt(workspace, [key]) as logs, workspace.connect() as connection:
        events = connection.sql("FROM events ORDER BY ALL").fetchall()
        for chosen in (logs[key].fine(), logs[key].coarse()):
            found = [connection.sql(share.of(share.relation)).fetchall() for share in chosen]
            unbounded = [connection.sql(f"FROM {share.relation}").fetchall() for share in chosen]
            assert list(map(len, found)) == list(map(len, unbounded))
            connection.register("found", connection.sql(" UNION ALL ".join(s.of(s.relation) for s in chosen)))
            assert connection.sql("FROM found ORDER BY ALL").fetchall() == events
        assert len(logs[key].fine()) >= len(logs[key].coarse())
    assert not logs[key].folder.exists()


def test_texts_are_dealt_in_the_order_of_the_engine(small_workspace) -> None:
    starts = ["", "Z", "a", "ä", "é'"]
    place = shares._place("name", starts)
    workspace = small_workspace(4)
    with workspace.connect() as connection:
        rows = connection.execute(
            f"SELECT {place} FROM (SELECT unnest(?) AS name)", [["", "A", "Z", "Zz", "a", "z", "ä", "é'", "€"]]
        ).fetchall()
    assert [number for (number,) in rows] == [0, 0, 1, 1, 2, 2, 3, 4, 4]


@pytest.mark.parametrize("key", ["user_id", "item_id"])
def test_a_large_log_has_larger_ranges_not_more(small_workspace, monkeypatch, key: str) -> None:
    monkeypatch.setattr(shares, "PART", 1)
    monkeypatch.setattr(shares, "MOST_RANGES", 5)

    with dealt(small_workspace(3), [key]) as logs:
        starts, files = logs[key].starts, list(logs[key].folder.glob("*.parquet"))

    assert 1 < len(starts) == len(files) <= 5


def test_ranges_of_an_ordinary_log_stay_as_small_as_they_may() -> None:
    assert shares.range_events(100_000_000) == shares.PART
    assert shares.range_events(1_000_000_000) == 3_906_250
