-- A day is counted once: it enters with its first event and leaves with its last. An item counts from its first event on.
CREATE TEMP VIEW user_days AS
SELECT
    *,
    CAST(row_number() OVER (PARTITION BY user_id, day ORDER BY cell) = 1 AS INTEGER) AS first_of_day,
    CAST(lead(cell) OVER (PARTITION BY user_id, day ORDER BY cell) IS NULL AS INTEGER) AS last_of_day
FROM (
    SELECT
        user_id,
        epoch_us(event_timestamp) // 86400000000 AS day,
        cell,
        count(*) AS events,
        count(*) FILTER (target_weight > 0) AS targets,
        coalesce(sum(CAST(nullif(target_weight, 0) AS DECIMAL(18, 4))), 0) AS weight,
        count(TRY_CAST(value AS DECIMAL(18, 4))) AS valued,
        sum(TRY_CAST(value AS DECIMAL(18, 4))) AS amount,
        sum(TRY_CAST(value AS DECIMAL(18, 4)) * TRY_CAST(value AS DECIMAL(18, 4))) AS square,
        min(event_timestamp) AS first_at,
        max(event_timestamp) AS last_at,
        max(event_timestamp) FILTER (target_weight > 0) AS target_at
    FROM own_events
    GROUP BY user_id, day, cell
);

CREATE TEMP VIEW log AS
SELECT cells.*, CAST(discovered.new_items AS INTEGER) AS new_items
FROM (
    SELECT
        user_id,
        cell,
        min(first_at) AS event_timestamp,
        max(last_at) AS last_at,
        max(target_at) AS target_at,
        CAST(sum(events) AS INTEGER) AS events,
        CAST(sum(targets) AS INTEGER) AS targets,
        sum(weight) AS weight,
        CAST(sum(valued) AS INTEGER) AS valued,
        sum(amount) AS amount,
        sum(square) AS square,
        CAST(sum(first_of_day) AS INTEGER) AS first_days,
        CAST(sum(last_of_day) AS INTEGER) AS last_days
    FROM user_days
    GROUP BY user_id, cell
) AS cells
LEFT JOIN (
    SELECT user_id, cell, count(*) AS new_items
    FROM (SELECT user_id, item_id, min(cell) AS cell FROM own_events GROUP BY user_id, item_id)
    GROUP BY user_id, cell
) AS discovered USING (user_id, cell);

CREATE TEMP VIEW steps AS
SELECT
    user_id,
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
    sum(entering * first_days - leaving_7d * last_days) AS days_7d,
    sum(entering * first_days - leaving_30d * last_days) AS days_30d,
    sum(entering * first_days) AS days_all,
    sum(entering * new_items) AS items_all,
    sum(in_all * weight) AS weight_all,
    sum(in_all * valued) AS valued_all,
    sum(in_all * amount) AS amount_all,
    sum(in_all * square) AS square_all,
    sum(in_30d * valued) AS valued_30d,
    sum(in_30d * amount) AS amount_30d,
    sum(in_90d * valued) AS valued_90d,
    sum(in_90d * amount) AS amount_90d,
    min(occurred_at) AS first_event_at,
    max(last_at) FILTER (entering = 1) AS last_event_at,
    max(target_at) FILTER (entering = 1) AS last_target_at
FROM changes
GROUP BY user_id, event_timestamp;

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
FROM running_totals
