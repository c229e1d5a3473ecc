from __future__ import annotations

import pytest


@pytest.mark.parametrize("strings", [False, True])
def test_matches_the_oracle(small_workspace, oracle, strings) -> None:
    def expected(history):
        days = {name: history.window(oracle.days[name]) for name in oracle.days}
        targets = history.targets()
        return {
            **{f"user_events_{name}": len(window) for name, window in days.items()},
            **{f"user_targets_{name}": len(window.targets()) for name, window in days.items()},
            "user_days_all": len({event.time.date() for event in history}),
            **{
                f"user_days_{name}": len(
                    {
                        event.time.date()
                        for event in history
                        if any(other.time.date() == event.time.date() and other in days[name] for other in history)
                    }
                )
                for name in ("7d", "30d")
            },
            "user_items_all": len({event.item for event in history}),
            "user_target_weight_all": sum(event.weight for event in history),
            **{f"user_value_mean_{name}": days[name].mean() for name in ("30d", "90d", "all")},
            "user_value_spread_all": history.spread(),
            "user_first_event_at": oracle.whole(history[0].time),
            "user_last_event_at": oracle.whole(history[-1].time),
            "user_last_target_at": oracle.whole(targets[-1].time) if targets else None,
        }

    oracle.check(small_workspace(1, strings=strings), "user_activity", lambda event: (event.user,), expected)
