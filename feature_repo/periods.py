"""Cuts, periods and the calendar of snapshots: global time only.

Labels of training cuts lie in [cut, validation); choices are made on [validation, test); the test window is
[test, now).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from feature_repo.columns import TARGET_WEIGHT, TIME, USER
from feature_repo.config import Config, Cut, SpacedCuts
from feature_repo.errors import DataError, FutureError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


@dataclass(frozen=True)
class Window:
    """A half-open label window [start, end); features and stage one see events before `start`."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class Periods:
    """The resolved split. `train` is ascending; `test.end` is the declared clock."""

    train: tuple[Window, ...]
    validation: Window
    test: Window

    @property
    def cuts(self) -> tuple[datetime, ...]:
        """Every cut at which stage one is fitted before the model serves: training, validation, test."""
        return (*(window.start for window in self.train), self.validation.start, self.test.start)


def resolve_periods(connection: duckdb.DuckDBPyConnection, config: Config, now: datetime) -> Periods:
    """Turn the configured cuts into times on this log.

    `connection` sees the log (`Lake.connect`). Raises DataError for a cut outside the log, for cuts out of order and
    for a log without target events; FutureError for a cut at or after the clock.
    """
    spaced = isinstance(config.split.train, SpacedCuts)
    span = _measure(
        connection, [config.split.validation, config.split.test, *(() if spaced else config.split.train)], now
    )
    validation = span.place(config.split.validation)
    test = span.place(config.split.test)
    _in_order("split.validation", validation, "split.test", test)
    reach = _reach(config.split.horizon_days, test - validation)
    train = _train_cuts(span, config, validation)
    _in_order("split.train (last)", train[-1], "split.validation", validation)
    windows = [_window(start, validation, reach) for start in train]
    return Periods(
        train=tuple(_with_learners(connection, windows)),
        validation=_window(validation, test, reach),
        test=Window(test, now),
    )


def _train_cuts(span: _Span, config: Config, validation: datetime) -> list[datetime]:
    """Return the training cuts in order; on a coarse clock quantiles can fall on one time, which then counts once."""
    if isinstance(config.split.train, SpacedCuts):
        return _spaced_cuts(span.first, config.split.train, validation)
    cuts = [(cut, span.place(cut)) for cut in config.split.train]
    latest = config.split.validation.quantile or 0.0
    # A cut that was meant to lie before the validation window, and fell on it, is left out; any other is an error.
    fallen = {at for cut, at in cuts if at == validation and (cut.quantile or 1.0) < latest}
    cuts_apart = {at for _, at in cuts} - fallen
    return sorted(cuts_apart or fallen)


def _spaced_cuts(first: datetime, spaced: SpacedCuts, validation: datetime) -> list[datetime]:
    steps = [timedelta(days=spaced.every_days) * number for number in range(spaced.count, 0, -1)]
    kept = [validation - step for step in steps if validation - step > first]
    if kept:
        return kept
    days = (validation - first) / timedelta(days=1)
    raise DataError(
        "rankhouse.yaml, key split.train.every_days",
        expected=f"fewer than the {days:.2f} days of log before the validation window",
        got=f"{spaced.every_days:g}",
        fix="Make the steps shorter.",
    )


def _with_learners(connection: duckdb.DuckDBPyConnection, windows: list[Window]) -> list[Window]:
    """Return the windows in which somebody with a past has a label: a log with a silence can hold others, too.

    Where there is none at all they stay as they are, for the stage that reads them to say so.
    """
    if not windows:
        return windows
    asked = ", ".join(f"bool_or({TIME} >= ? AND {TIME} < ? AND first_at < ?)" for _ in windows)
    [learnable] = connection.execute(
        f"SELECT {asked} FROM events JOIN (SELECT {USER}, min({TIME}) AS first_at FROM events GROUP BY {USER}) "
        f"USING ({USER}) WHERE {TARGET_WEIGHT} > 0",
        [time for window in windows for time in (window.start, window.end, window.start)],
    ).fetchall()
    return [window for window, known in zip(windows, learnable, strict=True) if known] or windows


def _reach(horizon: float | Literal["validation"] | None, validation: timedelta) -> timedelta | None:
    if horizon == "validation":
        return validation
    return None if horizon is None else timedelta(days=horizon)


def _window(start: datetime, end: datetime, reach: timedelta | None) -> Window:
    return Window(start, end if reach is None else min(end, start + reach))


def resolve_cut(connection: duckdb.DuckDBPyConnection, cut: Cut, now: datetime) -> datetime:
    """Return the time of one cut and check that it lies inside the log."""
    return _measure(connection, [cut], now).place(cut)


@dataclass(frozen=True)
class _Span:
    """The log before `now`: its first and last event, and the times of target events by quantile."""

    now: datetime
    first: datetime
    last: datetime
    quantiles: dict[float, datetime]

    def place(self, cut: Cut) -> datetime:
        """Return the time of a cut that lies inside the log."""
        moment = (cut.date if cut.date is not None else self.quantiles[cut.quantile]).astimezone(UTC)
        where = "rankhouse.yaml, key split"
        span = f"a time in ({self.first:%Y-%m-%d %H:%M:%S}, {self.last:%Y-%m-%d %H:%M:%S}] UTC"
        if moment >= self.now:
            raise FutureError(where, expected=span, got=f"{moment:%Y-%m-%d %H:%M:%S}", fix="Move the cut.")
        if not self.first < moment <= self.last:
            raise DataError(where, expected=span, got=f"{moment:%Y-%m-%d %H:%M:%S}", fix="Move the cut.")
        return moment


def _measure(connection: duckdb.DuckDBPyConnection, cuts: Sequence[Cut], now: datetime) -> _Span:
    """Look once at the log for all cuts; raise DataError where it has no target events."""
    asked = sorted({0.5, *(cut.quantile for cut in cuts if cut.quantile is not None)})
    # fetchall, not fetchone: DuckDB counts a result that was not read to its end as unfinished.
    [(first, last, times)] = connection.execute(
        f"SELECT min({TIME}), max({TIME}), "
        f"quantile_disc({TIME}, ?) FILTER (WHERE {TARGET_WEIGHT} > 0) FROM events WHERE {TIME} < ?",
        [asked, now],
    ).fetchall()
    if times is None:
        raise DataError(
            "the log",
            expected="events of a target type",
            got="none",
            fix="Name the target types under `events` in rankhouse.yaml or in the mapping file.",
        )
    return _Span(now, first, last, dict(zip(asked, times, strict=True)))


def _in_order(name: str, earlier: datetime, later_name: str, later: datetime) -> None:
    if earlier < later:
        return
    raise DataError(
        f"rankhouse.yaml, key {name}",
        expected=f"a cut before {later_name} ({later:%Y-%m-%d %H:%M:%S} UTC)",
        got=f"{earlier:%Y-%m-%d %H:%M:%S} UTC",
        fix="A label of one period must not lie in the next: move the cuts apart.",
    )


def calendar(first: datetime, now: datetime, cuts: tuple[datetime, ...]) -> pa.Table:
    """Return the snapshot times: every midnight after `first` up to `now`, every cut, and `now` itself.

    One column, event_timestamp: timestamp[us, UTC], ascending, distinct.
    """
    import numpy as np
    import pyarrow as pa

    to_us = _microseconds
    day = np.int64(86_400_000_000)
    midnights = np.arange(to_us(first) // day + 1, to_us(now) // day + 1, dtype=np.int64) * day
    extra = np.array([to_us(cut) for cut in cuts if cut <= now] + [to_us(now)], dtype=np.int64)
    times = np.union1d(midnights, extra)
    return pa.table({TIME: pa.array(times, pa.timestamp("us", tz="UTC"))})


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
