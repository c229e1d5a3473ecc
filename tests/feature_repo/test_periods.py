"""Cuts and windows: global time, no label of one period in the next, the calendar of snapshots."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.config import Config, Cut, load_config
from feature_repo.errors import DataError, FutureError
from feature_repo.periods import Window, calendar, resolve_cut, resolve_periods

DAY = timedelta(days=1)
START = datetime(2024, 1, 1, tzinfo=UTC)
NOW = START + 100 * DAY + timedelta(microseconds=1)


@pytest.fixture
def log():
    """A hundred days with one label and one other event each, both at midnight."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            "CREATE TABLE events AS SELECT 7::BIGINT AS user_id, "
            "TIMESTAMPTZ '2024-01-01 00:00:00+00' + day * INTERVAL 1 DAY AS event_timestamp, weight AS target_weight "
            "FROM range(101) d(day), (VALUES (1.0), (0.0)) w(weight)"
        )
        yield connection


def _config(**split: object) -> Config:
    raw = load_config().model_dump(by_alias=True)
    raw["split"] = {"train": [{"quantile": 0.5}], "validation": {"quantile": 0.8}, "test": {"quantile": 0.9}} | split
    return Config.model_validate(raw)


def test_windows_end_where_the_next_period_begins(log):
    periods = resolve_periods(log, _config(train=[{"quantile": 0.7}, {"quantile": 0.5}]), NOW)
    validation, test = periods.validation.start, periods.test.start
    assert [window.start for window in periods.train] == sorted(window.start for window in periods.train)
    assert {window.end for window in periods.train} == {validation}
    assert periods.validation == Window(validation, test)
    assert periods.test == Window(test, NOW)
    assert periods.cuts == (*(window.start for window in periods.train), validation, test)


def test_cuts_can_lie_every_so_many_days_before_the_validation_window(log):
    validation = {"date": START + 40 * DAY}
    periods = resolve_periods(log, _config(train={"every_days": 7, "count": 3}, validation=validation), NOW)
    assert [window.start - START for window in periods.train] == [19 * DAY, 26 * DAY, 33 * DAY]
    many = resolve_periods(log, _config(train={"every_days": 7.5, "count": 9}, validation=validation), NOW)
    assert [window.start - START for window in many.train] == [number * DAY / 2 for number in (5, 20, 35, 50, 65)]
    with pytest.raises(DataError, match=r"every_days: .*fewer than the 40.00 days .*got 40"):
        resolve_periods(log, _config(train={"every_days": 40, "count": 2}, validation=validation), NOW)


def test_a_horizon_shortens_windows_but_never_crosses_a_period(log):
    split = {"train": [{"date": START + 10 * DAY}, {"date": START + 75 * DAY}], "horizon_days": 20}
    dates = {"validation": {"date": START + 80 * DAY}, "test": {"date": START + 90 * DAY}}
    periods = resolve_periods(log, _config(**split, **dates), NOW)
    assert [window.end - START for window in periods.train] == [30 * DAY, 80 * DAY]
    assert periods.validation.end - START == 90 * DAY


def test_a_horizon_can_be_the_length_of_the_validation_window(log):
    split = {"train": [{"date": START + 40 * DAY}, {"date": START + 75 * DAY}], "horizon_days": "validation"}
    dates = {"validation": {"date": START + 80 * DAY}, "test": {"date": START + 90 * DAY}}
    periods = resolve_periods(log, _config(**split, **dates), NOW)
    assert [window.end - START for window in periods.train] == [50 * DAY, 80 * DAY]
    assert periods.validation.end - START == 90 * DAY


def test_a_training_window_in_which_nobody_with_a_past_has_a_label_is_left_out(log):
    days = ", ".join(f"'{START + day * DAY}'" for day in (30, 31, 32))
    log.execute(f"UPDATE events SET user_id = epoch_us(event_timestamp) WHERE event_timestamp IN ({days})")
    cuts = {"train": [{"date": START + 30 * DAY}, {"date": START + 50 * DAY}], "horizon_days": 3}
    periods = resolve_periods(log, _config(**cuts), NOW)
    assert [window.start - START for window in periods.train] == [50 * DAY]
    log.execute("UPDATE events SET user_id = epoch_us(event_timestamp)")
    assert len(resolve_periods(log, _config(**cuts), NOW).train) == 2


def test_quantiles_that_a_coarse_clock_throws_together_count_once(log):
    train = [{"quantile": 0.5}, {"quantile": 0.501}, {"quantile": 0.799}]
    periods = resolve_periods(log, _config(train=train, validation={"quantile": 0.8}), NOW)
    assert len(periods.train) == 1
    with pytest.raises(DataError, match=r"a cut before split\.validation"):
        resolve_periods(log, _config(train=[{"quantile": 0.799}], validation={"quantile": 0.8}), NOW)


def test_a_quantile_is_one_of_the_labels_times(log):
    log.execute("UPDATE events SET target_weight = 0 WHERE event_timestamp < TIMESTAMPTZ '2024-03-01 00:00:00+00'")
    times = [
        row[0]
        for row in log.execute("SELECT event_timestamp FROM events WHERE target_weight > 0 ORDER BY 1").fetchall()
    ]
    at = resolve_cut(log, Cut(quantile=0.5), NOW)
    assert at in times
    assert abs(sum(time < at for time in times) / len(times) - 0.5) < 0.02


@pytest.mark.parametrize(
    ("split", "error", "message"),
    [
        ({"test": {"date": START + 101 * DAY}}, FutureError, r"expected a time in .*got 2024-04-11"),
        ({"test": {"date": NOW}}, FutureError, r"Move the cut"),
        ({"train": [{"date": START}]}, DataError, r"expected a time in \(2024-01-01"),
        ({"train": [{"date": START - DAY}]}, DataError, r"got 2023-12-31"),
        ({"validation": {"quantile": 0.95}}, DataError, r"key split.validation: expected a cut before split.test"),
        ({"validation": {"quantile": 0.9}}, DataError, r"key split.validation: expected a cut before split.test"),
        ({"train": [{"quantile": 0.1}, {"quantile": 0.8}]}, DataError, r"split.train \(last\): .* before split.valid"),
    ],
)
def test_cuts_that_make_no_split(log, split, error, message):
    with pytest.raises(error, match=message):
        resolve_periods(log, _config(**split), NOW)


def test_a_log_without_labels(log):
    log.execute("UPDATE events SET target_weight = 0")
    with pytest.raises(DataError, match=r"expected events of a target type, got none"):
        resolve_periods(log, _config(), NOW)


def test_a_cut_at_the_last_event_is_inside_the_log(log):
    assert resolve_cut(log, Cut(date=START + 100 * DAY), NOW) == START + 100 * DAY


def test_the_calendar_has_midnights_cuts_and_now():
    cut = START + timedelta(days=1, hours=5)
    late = START + 9 * DAY
    now = START + timedelta(days=2, hours=12)
    table = calendar(START, now, (cut, late))
    assert str(table.schema.field("event_timestamp").type) == "timestamp[us, tz=UTC]"
    assert table["event_timestamp"].to_pylist() == [START + DAY, cut, START + 2 * DAY, now]


moments = st.integers(0, 20 * 86_400 * 10**6).map(lambda us: START + timedelta(microseconds=us))
midnights = st.integers(0, 20).map(lambda day: START + day * DAY)
either = st.one_of(moments, midnights)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(first=either, length=either, cuts=st.lists(either, max_size=4))
def test_the_calendar_against_a_plain_loop(first, length, cuts):
    now = first + (length - START)
    expected = {now, *(cut for cut in cuts if cut <= now)}
    day = START
    while day <= now:
        if day > first:
            expected.add(day)
        day += DAY
    assert calendar(first, now, tuple(cuts))["event_timestamp"].to_pylist() == sorted(expected)
