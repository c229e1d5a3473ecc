from __future__ import annotations


def test_matches_the_oracle(small_workspace, oracle) -> None:
    def expected(history):
        days = {name: history.window(oracle.days[name]) for name in oracle.days}
        events = {name: len(window) for name, window in days.items()}
        targets = {name: len(window.targets()) for name, window in days.items()}
        return {
            **{f"item_events_{name}": count for name, count in events.items()},
            **{f"item_targets_{name}": count for name, count in targets.items()},
            "item_users_all": len({event.user for event in history}),
            "item_repeat_share": 1 - len({event.user for event in history}) / len(history),
            **{f"item_target_rate_{n}": (targets[n] + 1) / (events[n] + 10) for n in ("7d", "30d", "all")},
            "item_trend_1d_7d": (targets["1d"] + 1) / (targets["7d"] / 7 + 1),
            "item_trend_7d_30d": (targets["7d"] / 7 + 1) / (targets["30d"] / 30 + 1),
            "item_trend_30d_90d": (targets["30d"] / 30 + 1) / (targets["90d"] / 90 + 1),
            **{f"item_value_mean_{name}": days[name].mean() for name in ("30d", "90d", "all")},
            "item_value_spread_all": history.spread(),
            "item_first_event_at": oracle.whole(history[0].time),
            "item_last_event_at": oracle.whole(history[-1].time),
            **{f"item_mean_event_at_{name}": days[name].seconds_mean() for name in ("7d", "30d", "90d")},
        }

    oracle.check(small_workspace(2), "item_popularity", lambda event: (event.item,), expected)
