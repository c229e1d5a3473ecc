from __future__ import annotations

import pytest


@pytest.mark.parametrize("strings", [False, True])
def test_matches_the_oracle(small_workspace, oracle, strings) -> None:
    def expected(history):
        targets = history.targets()
        windows = {name: history.window(oracle.days[name]) for name in ("7d", "30d", "all")}
        passive = [event for event in history if event.weight == 0 and not event.consuming]
        return {
            **{f"pair_events_{name}": len(window) for name, window in windows.items()},
            **{f"pair_targets_{name}": len(window.targets()) for name, window in windows.items()},
            "pair_target_weight_all": sum(event.weight for event in history),
            "pair_consumed_all": sum(event.consuming for event in history),
            **{f"pair_passive_{name}": sum(e in passive for e in window) for name, window in windows.items()},
            "pair_passive_unanswered": sum(not targets or e.time > targets[-1].time for e in passive),
            "pair_value_mean": history.mean(),
            "pair_last_event_at": oracle.whole(history[-1].time),
            "pair_last_target_at": oracle.whole(targets[-1].time) if targets else None,
            "pair_last_passive_at": oracle.whole(passive[-1].time) if passive else None,
        }

    oracle.check(small_workspace(3, strings=strings), "user_item", lambda event: (event.user, event.item), expected)
