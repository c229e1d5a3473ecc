"""What a team writes first: the columns of user_activity, item_popularity and user_category_affinity, by pandas.

For each snapshot the log before it is cut into windows and grouped. Every row of every snapshot is written, changed or
not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

VIEWS = ("user_activity", "item_popularity", "user_category_affinity")
WINDOWS = {"1d": 1, "7d": 7, "30d": 30, "90d": 90}
Windows = dict[str, pd.DataFrame]


def build(events: pd.DataFrame, items: pd.DataFrame, snapshots: Sequence[pd.Timestamp], folder: Path) -> None:
    """Write a Parquet file per snapshot and view. The log is sorted by time and has the weights of its targets."""
    events = events.assign(
        target=events["target_weight"] > 0,
        day=events["event_timestamp"].dt.floor("D"),
        seconds=events["event_timestamp"].astype("int64") // 1_000_000,
    )
    targets = _categories(events[events["target"]], items)
    for number, snapshot in enumerate(snapshots):
        log, categories = _windows(events, snapshot), _windows(targets, snapshot)
        tables = (user_activity(log), item_popularity(log), user_category_affinity(categories))
        for view, table in zip(VIEWS, tables, strict=True):
            table.to_parquet(folder / f"{view}-{number}.parquet")


def user_activity(log: Windows) -> pd.DataFrame:
    past = log["all"].groupby("user_id")
    table = _counts(log, "user_id", "user")
    for name in ("7d", "30d", "all"):
        table[f"user_days_{name}"] = log[name].groupby("user_id")["day"].nunique()
    table["user_items_all"] = past["item_id"].nunique()
    table["user_target_weight_all"] = past["target_weight"].sum()
    table = table.join(_values(log, "user_id", "user"))
    table["user_first_event_at"] = past["event_timestamp"].min().dt.floor("s")
    table["user_last_event_at"] = past["event_timestamp"].max().dt.floor("s")
    last = log["all"][log["all"]["target"]].groupby("user_id")["event_timestamp"].max()
    table["user_last_target_at"] = last.dt.floor("s")
    return _whole_counts(table)


def item_popularity(log: Windows) -> pd.DataFrame:
    past = log["all"].groupby("item_id")
    table = _whole_counts(_counts(log, "item_id", "item"))
    events = {name: table[f"item_events_{name}"] for name in log}
    targets = {name: table[f"item_targets_{name}"] for name in log}
    table["item_users_all"] = past["user_id"].nunique()
    table["item_repeat_share"] = 1 - table["item_users_all"] / events["all"]
    for name in ("7d", "30d", "all"):
        table[f"item_target_rate_{name}"] = (targets[name] + 1) / (events[name] + 10)
    table["item_trend_1d_7d"] = (targets["1d"] + 1) / (targets["7d"] / 7 + 1)
    table["item_trend_7d_30d"] = (targets["7d"] / 7 + 1) / (targets["30d"] / 30 + 1)
    table["item_trend_30d_90d"] = (targets["30d"] / 30 + 1) / (targets["90d"] / 90 + 1)
    table = table.join(_values(log, "item_id", "item"))
    table["item_first_event_at"] = past["event_timestamp"].min().dt.floor("s")
    table["item_last_event_at"] = past["event_timestamp"].max().dt.floor("s")
    for name in ("7d", "30d", "90d"):
        mean = log[name].groupby("item_id")["seconds"].sum() // log[name].groupby("item_id").size()
        table[f"item_mean_event_at_{name}"] = pd.to_datetime(mean, unit="s", utc=True)
    return table


def user_category_affinity(log: Windows) -> pd.DataFrame:
    keys = ["user_id", "category"]
    past = log["all"].groupby(keys)
    table = pd.DataFrame({"events_all": past.size()})
    for name in ("7d", "30d"):
        table[f"events_{name}"] = log[name].groupby(keys).size()
    table = table.fillna(0)
    for name in ("7d", "30d", "all"):
        events = table[f"events_{name}"]
        table[f"share_{name}"] = (events / events.groupby("user_id").transform("sum")).fillna(0)
    table["value_mean"] = past["value"].mean()
    table["last_at"] = past["event_timestamp"].max().dt.floor("s")
    last = past[["place", "streak"]].last()
    latest = last["place"].groupby("user_id").transform("max")
    table["streak"] = last["streak"].where(last["place"] == latest, 0)
    table = table.reset_index()
    by_user = table.groupby("user_id")
    columns = {f"user_category_{name}": by_user[name].agg(list) for name in table.columns[2:]}
    result = pd.DataFrame({"user_categories": by_user["category"].agg(list), **columns})
    result["user_categories_count"] = by_user.size()
    for name in ("7d", "30d", "all"):
        share = table[f"share_{name}"]
        entropy = -(share * np.log(share.where(share > 0, 1)))
        result[f"user_category_entropy_{name}"] = entropy.groupby(table["user_id"]).sum()
    return result


def _categories(targets: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Return a row per target event and category, with the event's place and the category's streak up to it."""
    log = targets.sort_values(["user_id", "event_timestamp", "item_id"])
    log["place"] = log.groupby("user_id").cumcount() + 1
    log = log.merge(items[["item_id", "categories"]], on="item_id").explode("categories")
    log = log.rename(columns={"categories": "category"}).sort_values(["user_id", "category", "place"])
    run = log["place"] - log.groupby(["user_id", "category"]).cumcount()
    log["streak"] = log.groupby([log["user_id"], log["category"], run]).cumcount() + 1
    return log.sort_values(["event_timestamp", "user_id", "place"])


def _windows(log: pd.DataFrame, snapshot: pd.Timestamp) -> Windows:
    end = log["event_timestamp"].searchsorted(snapshot)
    starts = {name: snapshot - pd.Timedelta(days=days) for name, days in WINDOWS.items()}
    return {
        **{name: log.iloc[log["event_timestamp"].searchsorted(start) : end] for name, start in starts.items()},
        "all": log.iloc[:end],
    }


def _counts(log: Windows, key: str, prefix: str) -> pd.DataFrame:
    columns = {}
    for name, window in log.items():
        grouped = window.groupby(key)["target"]
        columns |= {f"{prefix}_events_{name}": grouped.size(), f"{prefix}_targets_{name}": grouped.sum()}
    return pd.DataFrame(columns)


def _values(log: Windows, key: str, prefix: str) -> pd.DataFrame:
    grouped = log["all"].groupby(key)["value"]
    columns = {f"{prefix}_value_mean_all": grouped.mean(), f"{prefix}_value_spread_all": grouped.std(ddof=0)}
    for name in ("30d", "90d"):
        columns[f"{prefix}_value_mean_{name}"] = log[name].groupby(key)["value"].mean()
    return pd.DataFrame(columns)


def _whole_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with counts of zero where a window is empty."""
    counted = [name for name in table.columns if any(part in name for part in ("_events_", "_targets_", "_days_"))]
    table[counted] = table[counted].fillna(0).astype("int32")
    return table
