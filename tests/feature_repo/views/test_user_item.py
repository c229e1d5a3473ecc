from __future__ import annotations

import pytest


@pytest.mark.parametrize("strings", [False, True])
def test_matches_the_oracle(small_workspace, oracle, strings) -> None:
    def expected(history):
        targets = history.targets()
        passive = [event for event in history if event.weight == 0 and not event.consuming]
        return {
            **{f"pair_events_{name}": len(history.window(oracle.days[name])) for name in ("7d", "30d", "all")},
            "pair_targets_all": len(targets),
            "pair_consumed_all": sum(event.consuming for event in history),
            "pair_passive_7d": sum(event in passive for event in history.window(7)),
            "pair_passive_all": len(passive),
            "pair_value_mean": history.mean(),
            "pair_last_event_at": oracle.whole(history[-1].time),
            "pair_last_target_at": oracle.whole(targets[-1].time) if targets else None,
        }

    oracle.check(small_workspace(3, strings=strings), "user_item", lambda event: (event.user, event.item), expected)
