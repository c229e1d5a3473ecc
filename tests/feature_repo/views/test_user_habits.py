from __future__ import annotations

import math
from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pytest


@pytest.mark.parametrize("strings", [False, True])
def test_matches_the_oracle(small_workspace, oracle, strings) -> None:
    workspace = small_workspace(51, strings=strings)
    everything = oracle.events(workspace)

    days = {event.time.date() for event in everything}
    before_day = {day: Counter(event.item for event in everything if event.time.date() < day) for day in days}
    counts = {event: before_day[event.time.date()] for event in everything}

    def popular(event) -> bool:
        before = counts[event]
        return before[event.item] * len(before) > 3 * before.total()

    def share(events) -> float | None:
        return sum(map(popular, events)) / len(events) if events else None

    def fame(events) -> float | None:
        return sum(round(math.log(1 + counts[e][e.item]), 4) for e in events) / len(events) if events else None

    def gap_mean(events, before) -> float | None:
        gaps = [(e.time - before[e]).total_seconds() for e in events if e in before]
        return sum(gaps) / len(gaps) / 3600 if gaps else None

    def expected(history):
        windows = {name: history.window(oracle.days[name]) for name in ("7d", "30d", "90d", "all")}
        times = [event.time for event in history]
        sessions = 1 + sum(later - time > timedelta(minutes=30) for time, later in pairwise(times))
        gaps = [(later - time).total_seconds() for time, later in pairwise(times) if later > time]
        before = {later: e.time for e, later in pairwise(history)}
        lifetime = (history[-1].time - history[0].time).total_seconds()
        return {
            "user_sessions_all": sessions,
            "user_events_per_session": len(history) / sessions,
            "user_gap_mean_hours": lifetime / (len(history) - 1) / 3600 if len(history) > 1 else None,
            **{f"user_gap_mean_hours_{name}": gap_mean(windows[name], before) for name in ("30d", "90d")},
            "user_session_gap_mean_days": lifetime / (sessions - 1) / 86400 if sessions > 1 else None,
            "user_gap_last_hours": gaps[-1] / 3600 if gaps else None,
            **{f"user_popular_share_{name}": share(windows[name]) for name in ("30d", "90d", "all")},
            **{f"user_item_fame_mean_{name}": fame(windows[name]) for name in ("30d", "90d", "all")},
            **{f"user_target_weight_{name}": sum(e.weight for e in windows[name]) for name in ("7d", "30d", "90d")},
            **{f"user_consumed_{name}": sum(e.consuming for e in windows[name]) for name in ("7d", "30d", "all")},
            **{f"user_value_spread_{name}": windows[name].spread() for name in ("30d", "90d")},
        }

    oracle.check(workspace, "user_habits", lambda event: (event.user,), expected)
