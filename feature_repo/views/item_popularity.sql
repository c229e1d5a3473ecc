-- Rates are smoothed as if every item had begun with one target among ten events. A trend is the ratio of two daily
-- rates, both smoothed by one event; 1 means that nothing changes. `item_mean_event_at_30d` is the mean time of the
-- window's events: its distance from now, taken on demand, is the slope of the daily counts.
CREATE TEMP VIEW log AS
SELECT cells.*, won.new_users
FROM (
    SELECT
        item_id,
        cell,
        min(event_timestamp) AS event_timestamp,
        max(event_timestamp) AS last_at,
        count(*) AS events,
        count(*) FILTER (target_weight > 0) AS targets,
        count(TRY_CAST(value AS DECIMAL(18, 4))) AS valued,
        sum(TRY_CAST(value AS DECIMAL(18, 4))) AS amount,
        sum(TRY_CAST(value AS DECIMAL(18, 4)) * TRY_CAST(value AS DECIMAL(18, 4))) AS square,
        sum(CAST(floor(epoch(event_timestamp)) AS BIGINT)) AS seconds
    FROM own_events
    GROUP BY item_id, cell
) AS cells
LEFT JOIN (
    SELECT item_id, cell, count(*) AS new_users
    FROM (SELECT item_id, user_id, min(cell) AS cell FROM own_events GROUP BY item_id, user_id)
    GROUP BY item_id, cell
) AS won USING (item_id, cell);

WITH totals AS (
    SELECT
        item_id,
        event_timestamp,
        sum(sum(in_1d * events)) OVER history AS events_1d,
        sum(sum(in_7d * events)) OVER history AS events_7d,
        sum(sum(in_30d * events)) OVER history AS events_30d,
        sum(sum(in_90d * events)) OVER history AS events_90d,
        sum(sum(in_all * events)) OVER history AS events_all,
        sum(sum(in_1d * targets)) OVER history AS targets_1d,
        sum(sum(in_7d * targets)) OVER history AS targets_7d,
        sum(sum(in_30d * targets)) OVER history AS targets_30d,
        sum(sum(in_90d * targets)) OVER history AS targets_90d,
        sum(sum(in_all * targets)) OVER history AS targets_all,
        sum(sum(entering * new_users)) OVER history AS users_all,
        sum(sum(in_all * valued)) OVER history AS valued_all,
        sum(sum(in_all * amount)) OVER history AS amount_all,
        sum(sum(in_all * square)) OVER history AS square_all,
        sum(sum(in_30d * valued)) OVER history AS valued_30d,
        sum(sum(in_30d * amount)) OVER history AS amount_30d,
        sum(sum(in_90d * valued)) OVER history AS valued_90d,
        sum(sum(in_90d * amount)) OVER history AS amount_90d,
        sum(sum(in_7d * seconds)) OVER history AS seconds_7d,
        sum(sum(in_30d * seconds)) OVER history AS seconds_30d,
        sum(sum(in_90d * seconds)) OVER history AS seconds_90d,
        min(min(occurred_at)) OVER history AS first_event_at,
        max(max(last_at)) OVER history AS last_event_at
    FROM changes
    GROUP BY item_id, event_timestamp
    WINDOW history AS (PARTITION BY item_id ORDER BY event_timestamp)
)

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
FROM totals
