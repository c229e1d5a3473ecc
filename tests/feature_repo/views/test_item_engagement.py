from __future__ import annotations


def rate(successes: int, shown: int) -> float | None:
    return (successes + 1) / (max(shown, successes) + 10) if shown else None


def test_matches_the_oracle(small_workspace, oracle) -> None:
    def expected(history):
        windows = {name: history.window(oracle.days[name]) for name in ("7d", "30d", "90d", "all")}
        three = {name: windows[name] for name in ("7d", "30d", "all")}
        shown = {n: sum(e.weight == 0 and not e.consuming for e in window) for n, window in three.items()}
        clicked = {n: sum(e.weight > 0 and not e.consuming for e in window) for n, window in three.items()}
        consumed = {n: sum(e.consuming for e in window) for n, window in three.items()}
        # A day enters with its first event and leaves with its last.
        dates = {n: {e.time.date() for e in window} for n, window in three.items()}
        days = {n: {e.time.date() for e in history if e.time.date() in dates[n]} for n in three}
        users = {name: len({e.user for e in windows[name]}) for name in ("7d", "30d")}
        return {
            **{f"item_target_weight_{name}": sum(e.weight for e in window) for name, window in windows.items()},
            **{f"item_impressions_{name}": count for name, count in shown.items()},
            **{f"item_ctr_{name}": rate(clicked[name], shown[name]) for name in three},
            **{f"item_conversion_{name}": rate(consumed[name], shown[name]) for name in three},
            **{f"item_users_{name}": count for name, count in users.items()},
            **{
                f"item_repeat_share_{name}": 1 - count / len(windows[name]) if windows[name] else None
                for name, count in users.items()
            },
            **{f"item_days_{name}": len(dates) for name, dates in days.items()},
            **{f"item_value_spread_{name}": windows[name].spread() for name in ("30d", "90d")},
        }

    oracle.check(small_workspace(52), "item_engagement", lambda event: (event.item,), expected)
