-- Passive events are neither a target nor consumption: impressions, bookmarks. They are unanswered when no target event
-- of the pair has followed: impressions without a click.
CREATE TEMP VIEW log AS
SELECT
    user_id,
    item_id,
    event_timestamp,
    CAST(target_weight > 0 AS INTEGER) AS target,
    CAST(consuming AS INTEGER) AS consumed,
    CAST(target_weight = 0 AND NOT consuming AS INTEGER) AS passive,
    CAST(target_weight AS DECIMAL(18, 4)) AS weight,
    sum(CAST(target_weight = 0 AND NOT consuming AS INTEGER)) OVER line AS passive_so_far,
    TRY_CAST(value AS DECIMAL(18, 4)) AS amount,
    CAST(TRY_CAST(value AS DECIMAL(18, 4)) IS NOT NULL AS INTEGER) AS valued
FROM own_events
WINDOW line AS (PARTITION BY user_id, item_id ORDER BY event_timestamp);

WITH totals AS (
    SELECT
        user_id,
        item_id,
        event_timestamp,
        sum(sum(in_7d)) OVER history AS events_7d,
        sum(sum(in_30d)) OVER history AS events_30d,
        sum(sum(in_all)) OVER history AS events_all,
        sum(sum(in_7d * target)) OVER history AS targets_7d,
        sum(sum(in_30d * target)) OVER history AS targets_30d,
        sum(sum(in_all * target)) OVER history AS targets_all,
        sum(sum(in_all * weight)) OVER history AS weight_all,
        sum(sum(in_all * consumed)) OVER history AS consumed_all,
        sum(sum(in_7d * passive)) OVER history AS passive_7d,
        sum(sum(in_30d * passive)) OVER history AS passive_30d,
        sum(sum(in_all * passive)) OVER history AS passive_all,
        max(max(CASE WHEN target = 1 THEN passive_so_far END)) OVER history AS passive_answered,
        sum(sum(in_all * amount)) OVER history AS amount_all,
        sum(sum(in_all * valued)) OVER history AS valued_all,
        max(max(occurred_at)) OVER history AS last_event_at,
        max(max(CASE WHEN target = 1 THEN occurred_at END)) OVER history AS last_target_at,
        max(max(CASE WHEN passive = 1 THEN occurred_at END)) OVER history AS last_passive_at
    FROM changes
    GROUP BY user_id, item_id, event_timestamp
    WINDOW history AS (PARTITION BY user_id, item_id ORDER BY event_timestamp)
)

SELECT
    user_id,
    item_id,
    event_timestamp,
    events_7d AS pair_events_7d,
    events_30d AS pair_events_30d,
    events_all AS pair_events_all,
    targets_7d AS pair_targets_7d,
    targets_30d AS pair_targets_30d,
    targets_all AS pair_targets_all,
    weight_all AS pair_target_weight_all,
    consumed_all AS pair_consumed_all,
    passive_7d AS pair_passive_7d,
    passive_30d AS pair_passive_30d,
    passive_all AS pair_passive_all,
    passive_all - coalesce(passive_answered, 0) AS pair_passive_unanswered,
    amount_all / nullif(valued_all, 0) AS pair_value_mean,
    date_trunc('second', last_event_at) AS pair_last_event_at,
    date_trunc('second', last_target_at) AS pair_last_target_at,
    date_trunc('second', last_passive_at) AS pair_last_passive_at
FROM totals
