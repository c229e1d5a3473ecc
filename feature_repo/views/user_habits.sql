-- A session ends with half an hour of silence. An item is popular when it has had three times the events of the mean
-- item; both are counted up to the midnight before the event, and what comes later does not change it.
CREATE TEMP VIEW daily_items AS
WITH counts AS (
    SELECT item_id, day, events, sum(events) OVER (PARTITION BY item_id ORDER BY day) - events AS earlier
    FROM (
        SELECT item_id, epoch_us(event_timestamp) // 86400000000 AS day, CAST(count(*) AS INTEGER) AS events
        FROM events
        GROUP BY item_id, day
    )
),

totals AS (
    SELECT
        day,
        sum(sum(events)) OVER days - sum(events) AS earlier_events,
        sum(count(*) FILTER (earlier = 0)) OVER days - count(*) FILTER (earlier = 0) AS earlier_items
    FROM counts
    GROUP BY day
    WINDOW days AS (ORDER BY day)
)

SELECT
    counts.item_id,
    counts.day,
    CAST(counts.earlier * totals.earlier_items > 3 * totals.earlier_events AS INTEGER) AS popular,
    CAST(ln(1 + counts.earlier) AS DECIMAL(18, 4)) AS fame
FROM counts
JOIN totals ON totals.day = counts.day;

CREATE TEMP VIEW log AS
SELECT cells.*, gaps.* EXCLUDE (user_id, cell)
FROM (
    SELECT
        own.user_id,
        own.cell,
        min(own.event_timestamp) AS event_timestamp,
        max(own.event_timestamp) AS last_at,
        CAST(count(*) AS INTEGER) AS events,
        CAST(sum(daily_items.popular) AS INTEGER) AS popular,
        sum(daily_items.fame) AS fame,
        coalesce(sum(CAST(nullif(own.target_weight, 0) AS DECIMAL(18, 4))), 0) AS weight,
        CAST(count(*) FILTER (own.consuming) AS INTEGER) AS consumed,
        CAST(count(TRY_CAST(own.value AS DECIMAL(18, 4))) AS INTEGER) AS valued,
        sum(TRY_CAST(own.value AS DECIMAL(18, 4))) AS amount,
        sum(TRY_CAST(own.value AS DECIMAL(18, 4)) * TRY_CAST(own.value AS DECIMAL(18, 4))) AS square
    FROM own_events AS own
    JOIN daily_items ON daily_items.item_id = own.item_id AND daily_items.day = epoch_us(own.event_timestamp) // 86400000000
    GROUP BY own.user_id, own.cell
) AS cells
JOIN (
    SELECT
        user_id,
        cell,
        CAST(count(*) FILTER (gap IS NULL OR gap > 1800000000) AS INTEGER) AS sessions,
        CAST(sum(gap) AS BIGINT) AS gap,
        CAST(count(gap) AS INTEGER) AS gaps,
        arg_max(gap, event_timestamp) FILTER (gap > 0) AS last_gap
    FROM (
        SELECT user_id, cell, event_timestamp, epoch_us(event_timestamp) - lag(epoch_us(event_timestamp)) OVER line AS gap
        FROM own_events
        WINDOW line AS (PARTITION BY user_id ORDER BY event_timestamp)
    )
    GROUP BY user_id, cell
) AS gaps USING (user_id, cell);

CREATE TEMP VIEW steps AS
SELECT
    user_id,
    event_timestamp,
    sum(in_30d * events) AS events_30d,
    sum(in_90d * events) AS events_90d,
    sum(in_all * events) AS events_all,
    sum(entering * sessions) AS sessions_all,
    sum(in_30d * gap) AS gap_30d,
    sum(in_90d * gap) AS gap_90d,
    sum(in_30d * gaps) AS gaps_30d,
    sum(in_90d * gaps) AS gaps_90d,
    sum(in_30d * popular) AS popular_30d,
    sum(in_90d * popular) AS popular_90d,
    sum(in_all * popular) AS popular_all,
    sum(in_30d * fame) AS fame_30d,
    sum(in_90d * fame) AS fame_90d,
    sum(in_all * fame) AS fame_all,
    sum(in_7d * weight) AS weight_7d,
    sum(in_30d * weight) AS weight_30d,
    sum(in_90d * weight) AS weight_90d,
    sum(in_7d * consumed) AS consumed_7d,
    sum(in_30d * consumed) AS consumed_30d,
    sum(in_all * consumed) AS consumed_all,
    sum(in_30d * valued) AS valued_30d,
    sum(in_30d * amount) AS amount_30d,
    sum(in_30d * square) AS square_30d,
    sum(in_90d * valued) AS valued_90d,
    sum(in_90d * amount) AS amount_90d,
    sum(in_90d * square) AS square_90d,
    min(occurred_at) AS first_at,
    max(last_at) FILTER (entering = 1) AS last_at,
    arg_max(last_gap, occurred_at) FILTER (entering = 1 AND last_gap > 0) AS last_gap
FROM changes
GROUP BY user_id, event_timestamp;

SELECT
    user_id,
    event_timestamp,
    sessions_all AS user_sessions_all,
    events_all / sessions_all AS user_events_per_session,
    lifetime / nullif(events_all - 1, 0) / 3600000000 AS user_gap_mean_hours,
    gap_30d / nullif(gaps_30d, 0) / 3600000000 AS user_gap_mean_hours_30d,
    gap_90d / nullif(gaps_90d, 0) / 3600000000 AS user_gap_mean_hours_90d,
    lifetime / nullif(sessions_all - 1, 0) / 86400000000 AS user_session_gap_mean_days,
    last_gap / 3600000000 AS user_gap_last_hours,
    popular_30d / nullif(events_30d, 0) AS user_popular_share_30d,
    popular_90d / nullif(events_90d, 0) AS user_popular_share_90d,
    popular_all / events_all AS user_popular_share_all,
    fame_30d / nullif(events_30d, 0) AS user_item_fame_mean_30d,
    fame_90d / nullif(events_90d, 0) AS user_item_fame_mean_90d,
    fame_all / events_all AS user_item_fame_mean_all,
    weight_7d AS user_target_weight_7d,
    weight_30d AS user_target_weight_30d,
    weight_90d AS user_target_weight_90d,
    consumed_7d AS user_consumed_7d,
    consumed_30d AS user_consumed_30d,
    consumed_all AS user_consumed_all,
    CASE WHEN valued_30d > 0 THEN sqrt(greatest(square_30d / valued_30d - power(amount_30d / valued_30d, 2), 0)) END
        AS user_value_spread_30d,
    CASE WHEN valued_90d > 0 THEN sqrt(greatest(square_90d / valued_90d - power(amount_90d / valued_90d, 2), 0)) END
        AS user_value_spread_90d
FROM (SELECT *, epoch_us(last_at) - epoch_us(first_at) AS lifetime FROM running_totals)
