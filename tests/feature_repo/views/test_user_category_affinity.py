from __future__ import annotations

import math
from itertools import takewhile


def entropy(counts: list[int]) -> float:
    return -sum(count / sum(counts) * math.log(count / sum(counts)) for count in counts if count)


def test_matches_the_oracle(small_workspace, oracle) -> None:
    def expected(history):
        met = {name: [] for event in history.targets() for name in event.categories}
        if not met:
            return None
        names = sorted(met)
        windows = {name: history.window(oracle.days[name]).targets() for name in ("7d", "30d", "all")}
        of = {name: {c: [e for e in w if c in e.categories] for c in names} for name, w in windows.items()}
        values = {c: [e.value for e in of["all"][c] if e.value is not None] for c in names}
        last = sorted((e for e in history.targets() if e.categories), key=lambda e: (e.time, e.item), reverse=True)
        totals = {name: sum(map(len, by.values())) for name, by in of.items()}
        return {
            "user_categories": names,
            **{f"user_category_events_{name}": [len(by[c]) for c in names] for name, by in of.items()},
            **{
                f"user_category_share_{name}": [len(by[c]) / max(totals[name], 1) for c in names]
                for name, by in of.items()
            },
            "user_category_value_mean": [sum(v) / len(v) if v else None for v in (values[c] for c in names)],
            "user_category_last_at": [oracle.whole(max(e.time for e in of["all"][c])) for c in names],
            "user_category_streak": [len(list(takewhile(lambda e, c=c: c in e.categories, last))) for c in names],
            "user_categories_count": len(names),
            **{f"user_category_entropy_{n}": entropy([len(by[c]) for c in names]) for n, by in of.items()},
        }

    oracle.check(small_workspace(4), "user_category_affinity", lambda event: (event.user,), expected)
