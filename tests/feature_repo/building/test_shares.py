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
