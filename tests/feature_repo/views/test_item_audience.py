from __future__ import annotations

import numpy as np

from feature_repo.data_set import DataSet
from feature_repo.views import item_audience

GROUPS = {number: f"group={letter}" for number, letter in enumerate(["x", "y", None, "x"] * 2, start=1) if letter}


def test_matches_the_oracle(small_workspace, small_log, oracle) -> None:
    # The same log; its attribute is called a_group there.
    def expected(history):
        known = [event for event in history.targets() if event.user in GROUPS]
        names = sorted({GROUPS[event.user] for event in known})
        if not names:
            return None
        windows = {name: [e for e in known if e in history.window(oracle.days[name])] for name in item_audience.WINDOWS}
        values = {name: [e.value for e in known if GROUPS[e.user] == name and e.value is not None] for name in names}
        return {
            "item_segments": [f"a_{name}" for name in names],
            **{f"item_segment_events_{w}": [sum(GROUPS[e.user] == name for e in events) for name in names]
               for w, events in windows.items()},
            **{f"item_segment_base_{w}": [len(events)] * len(names) for w, events in windows.items()},
            "item_segment_value_mean": [float(np.mean(v)) if v else None for v in values.values()],
        }  # fmt: skip

    oracle.check(small_workspace(53), "item_audience", lambda event: (event.item,), expected)


def test_left_out_without_categories(small_workspace, small_log) -> None:
    tables = small_log(53)
    workspace = small_workspace(54, tables={"events": tables["events"], "items": tables["items"]})
    assert item_audience.define(DataSet.of(workspace)) is None
