-- Rates are smoothed as if every item had begun with one target among ten events. A trend is the ratio of two daily
-- rates, both smoothed by one event; 1 means that nothing changes. `item_mean_event_at_30d` is the mean time of the
-- window's events: its distance from now, taken on demand, is the slope of the daily counts.
CREATE TEMP VIEW log AS
SELECT cells.*, CAST(won.new_users AS INTEGER) AS new_users
FROM (
    SELECT
        item_id,
        cell,
        min(event_timestamp) AS event_timestamp,
        max(event_timestamp) AS last_at,
        CAST(count(*) AS INTEGER) AS events,
        CAST(count(*) FILTER (target_weight > 0) AS INTEGER) AS targets,
        CAST(count(TRY_CAST(value AS DECIMAL(18, 4))) AS INTEGER) AS valued,
        sum(TRY_CAST(value AS DECIMAL(18, 4))) AS amount,
        sum(TRY_CAST(value AS DECIMAL(18, 4)) * TRY_CAST(value AS DECIMAL(18, 4))) AS square,
        CAST(sum(CAST(floor(epoch(event_timestamp)) AS BIGINT)) AS BIGINT) AS seconds
    FROM own_events
    GROUP BY item_id, cell
) AS cells
LEFT JOIN (
    SELECT item_id, cell, count(*) AS new_users
    FROM (SELECT item_id, user_id, min(cell) AS cell FROM own_events GROUP BY item_id, user_id)
    GROUP BY item_id, cell
) AS won USING (item_id, cell);

CREATE TEMP VIEW steps AS
SELECT
    item_id,
    event_timestamp,
    sum(in_1d * events) AS events_1d,
    sum(in_7d * events) AS events_7d,
    sum(in_30d * events) AS events_30d,
    sum(in_90d * events) AS events_90d,
    sum(in_all * events) AS events_all,
    sum(in_1d * targets) AS targets_1d,
    sum(in_7d * targets) AS targets_7d,
    sum(in_30d * targets) AS targets_30d,
    sum(in_90d * targets) AS targets_90d,
    sum(in_all * targets) AS targets_all,
    sum(entering * new_users) AS users_all,
    sum(in_all * valued) AS valued_all,
    sum(in_all * amount) AS amount_all,
    sum(in_all * square) AS square_all,
    sum(in_30d * valued) AS valued_30d,
    sum(in_30d * amount) AS amount_30d,
    sum(in_90d * valued) AS valued_90d,
    sum(in_90d * amount) AS amount_90d,
    sum(in_7d * seconds) AS seconds_7d,
    sum(in_30d * seconds) AS seconds_30d,
    sum(in_90d * seconds) AS seconds_90d,
    min(occurred_at) AS first_event_at,
    max(last_at) FILTER (entering = 1) AS last_event_at
FROM changes
GROUP BY item_id, event_timestamp;

SELECT
    item_id,
    event_timestamp,
    events_1d AS item_events_1d,
    events_7d AS item_events_7d,
    events_30d AS item_events_30d,
    events_90d AS item_events_90d,
    events_all AS item_events_all,
    targets_1d AS item_targets_1d,
    targets_7d AS item_targets_7d,
    targets_30d AS item_targets_30d,
    targets_90d AS item_targets_90d,
    targets_all AS item_targets_all,
    users_all AS item_users_all,
    1 - users_all / events_all AS item_repeat_share,
    (targets_7d + 1) / (events_7d + 10) AS item_target_rate_7d,
    (targets_30d + 1) / (events_30d + 10) AS item_target_rate_30d,
    (targets_all + 1) / (events_all + 10) AS item_target_rate_all,
    (targets_1d + 1) / (targets_7d / 7 + 1) AS item_trend_1d_7d,
    (targets_7d / 7 + 1) / (targets_30d / 30 + 1) AS item_trend_7d_30d,
    (targets_30d / 30 + 1) / (targets_90d / 90 + 1) AS item_trend_30d_90d,
    amount_all / nullif(valued_all, 0) AS item_value_mean_all,
    CASE WHEN valued_all > 0 THEN sqrt(greatest(square_all / valued_all - power(amount_all / valued_all, 2), 0)) END
        AS item_value_spread_all,
    amount_30d / nullif(valued_30d, 0) AS item_value_mean_30d,
    amount_90d / nullif(valued_90d, 0) AS item_value_mean_90d,
    date_trunc('second', first_event_at) AS item_first_event_at,
    date_trunc('second', last_event_at) AS item_last_event_at,
    to_timestamp(floor(seconds_7d / nullif(events_7d, 0))) AS item_mean_event_at_7d,
    to_timestamp(floor(seconds_30d / nullif(events_30d, 0))) AS item_mean_event_at_30d,
    to_timestamp(floor(seconds_90d / nullif(events_90d, 0))) AS item_mean_event_at_90d
FROM running_totals
