-- A day is counted once: it enters with its first event and leaves with its last.
CREATE TEMP VIEW log AS
SELECT
    user_id,
    event_timestamp,
    CAST(target_weight > 0 AS INTEGER) AS target,
    CAST(target_weight AS DECIMAL(18, 4)) AS weight,
    TRY_CAST(value AS DECIMAL(18, 4)) AS amount,
    CAST(TRY_CAST(value AS DECIMAL(18, 4)) IS NOT NULL AS INTEGER) AS valued,
    CAST(lag(CAST(event_timestamp AS DATE)) OVER line IS DISTINCT FROM CAST(event_timestamp AS DATE) AS INTEGER)
        AS first_of_day,
    CAST(lead(CAST(event_timestamp AS DATE)) OVER line IS DISTINCT FROM CAST(event_timestamp AS DATE) AS INTEGER)
        AS last_of_day,
    CAST(row_number() OVER (PARTITION BY user_id, item_id ORDER BY event_timestamp) = 1 AS INTEGER) AS first_of_item
FROM own_events
WINDOW line AS (PARTITION BY user_id ORDER BY event_timestamp);

WITH totals AS (
    SELECT
        user_id,
        event_timestamp,
        sum(sum(in_1d)) OVER history AS events_1d,
        sum(sum(in_7d)) OVER history AS events_7d,
        sum(sum(in_30d)) OVER history AS events_30d,
        sum(sum(in_90d)) OVER history AS events_90d,
        sum(sum(in_all)) OVER history AS events_all,
        sum(sum(in_1d * target)) OVER history AS targets_1d,
        sum(sum(in_7d * target)) OVER history AS targets_7d,
        sum(sum(in_30d * target)) OVER history AS targets_30d,
        sum(sum(in_90d * target)) OVER history AS targets_90d,
        sum(sum(in_all * target)) OVER history AS targets_all,
        sum(sum(entering * first_of_day - leaving_7d * last_of_day)) OVER history AS days_7d,
        sum(sum(entering * first_of_day - leaving_30d * last_of_day)) OVER history AS days_30d,
        sum(sum(entering * first_of_day)) OVER history AS days_all,
        sum(sum(entering * first_of_item)) OVER history AS items_all,
        sum(sum(in_all * weight)) OVER history AS weight_all,
        sum(sum(in_all * valued)) OVER history AS valued_all,
        sum(sum(in_all * amount)) OVER history AS amount_all,
        sum(sum(in_all * amount * amount)) OVER history AS square_all,
        sum(sum(in_30d * valued)) OVER history AS valued_30d,
        sum(sum(in_30d * amount)) OVER history AS amount_30d,
        sum(sum(in_90d * valued)) OVER history AS valued_90d,
        sum(sum(in_90d * amount)) OVER history AS amount_90d,
        min(min(occurred_at)) OVER history AS first_event_at,
        max(max(occurred_at)) OVER history AS last_event_at,
        max(max(CASE WHEN target = 1 THEN occurred_at END)) OVER history AS last_target_at
    FROM changes
    GROUP BY user_id, event_timestamp
    WINDOW history AS (PARTITION BY user_id ORDER BY event_timestamp)
)

SELECT
    user_id,
    event_timestamp,
    events_1d AS user_events_1d,
    events_7d AS user_events_7d,
    events_30d AS user_events_30d,
    events_90d AS user_events_90d,
    events_all AS user_events_all,
    targets_1d AS user_targets_1d,
    targets_7d AS user_targets_7d,
    targets_30d AS user_targets_30d,
    targets_90d AS user_targets_90d,
    targets_all AS user_targets_all,
    days_7d AS user_days_7d,
    days_30d AS user_days_30d,
    days_all AS user_days_all,
    items_all AS user_items_all,
    weight_all AS user_target_weight_all,
    amount_all / nullif(valued_all, 0) AS user_value_mean_all,
    CASE WHEN valued_all > 0 THEN sqrt(greatest(square_all / valued_all - power(amount_all / valued_all, 2), 0)) END
        AS user_value_spread_all,
    amount_30d / nullif(valued_30d, 0) AS user_value_mean_30d,
    amount_90d / nullif(valued_90d, 0) AS user_value_mean_90d,
    date_trunc('second', first_event_at) AS user_first_event_at,
    date_trunc('second', last_event_at) AS user_last_event_at,
    date_trunc('second', last_target_at) AS user_last_target_at
FROM totals
