"""What a team writes first: features of users, items and users' categories at every snapshot, by pandas.

For each midnight the log before it is filtered by window and grouped: counts, targets, mean values and times, a part of
what the views hold. Every row of every snapshot is written, changed or not.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

WINDOWS = {"1d": 1, "7d": 7, "30d": 30, "90d": 90}


def build(events: pd.DataFrame, items: pd.DataFrame, snapshots: list[pd.Timestamp], folder: Path) -> int:
    """Write a Parquet file per snapshot and entity; return the number of rows."""
    events = events.assign(target=events["event_type"].isin(["click", "purchase"]))
    events = events.merge(items[["item_id", "categories"]], on="item_id", how="left")
    rows = 0
    for number, snapshot in enumerate(snapshots):
        past = events[events["event_timestamp"] < snapshot]
        for key in ("user_id", "item_id"):
            table = _entity(past, snapshot, key)
            table.to_parquet(folder / f"{key}-{number}.parquet")
            rows += len(table)
        table = _categories(past, snapshot)
        table.to_parquet(folder / f"category-{number}.parquet")
        rows += len(table)
    return rows


def _entity(past: pd.DataFrame, snapshot: pd.Timestamp, key: str) -> pd.DataFrame:
    grouped = past.groupby(key)
    columns = {
        "events_all": grouped.size(),
        "targets_all": grouped["target"].sum(),
        "value_mean": grouped["value"].mean(),
        "value_spread": grouped["value"].std(),
        "first_at": grouped["event_timestamp"].min(),
        "last_at": grouped["event_timestamp"].max(),
        "others": grouped["item_id" if key == "user_id" else "user_id"].nunique(),
    }
    for name, days in WINDOWS.items():
        window = past[past["event_timestamp"] >= snapshot - pd.Timedelta(days=days)].groupby(key)
        columns |= {f"events_{name}": window.size(), f"targets_{name}": window["target"].sum()}
    table = pd.DataFrame(columns)
    counted = [name for name in table.columns if name.startswith(("events", "targets"))]
    table[counted] = table[counted].fillna(0).astype("int32")
    return table.reset_index()


def _categories(past: pd.DataFrame, snapshot: pd.Timestamp) -> pd.DataFrame:
    targets = past.loc[past["target"], ["user_id", "event_timestamp", "categories", "value"]].explode("categories")
    columns = {"events_all": targets.groupby(["user_id", "categories"]).size()}
    for days in (7, 30):
        window = targets[targets["event_timestamp"] >= snapshot - pd.Timedelta(days=days)]
        columns[f"events_{days}d"] = window.groupby(["user_id", "categories"]).size()
    columns["value_mean"] = targets.groupby(["user_id", "categories"])["value"].mean()
    columns["last_at"] = targets.groupby(["user_id", "categories"])["event_timestamp"].max()
    return pd.DataFrame(columns).reset_index()
