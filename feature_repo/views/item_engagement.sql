-- Passive events are neither a target nor consumption: impressions. A click is a target that is no consumption. Rates
-- are the means of a Beta posterior with the prior Beta(1, 9): one success among ten trials, whatever the data set.
-- A user counts for a window from the first of the events on the item that lie within it to the last of them.
CREATE TEMP VIEW log AS
SELECT
    item_id,
    event_timestamp,
    CAST(target_weight > 0 AND NOT consuming AS INTEGER) AS clicked,
    CAST(consuming AS INTEGER) AS consumed,
    CAST(target_weight = 0 AND NOT consuming AS INTEGER) AS passive,
    CAST(target_weight AS DECIMAL(18, 4)) AS weight,
    TRY_CAST(value AS DECIMAL(18, 4)) AS amount,
    CAST(TRY_CAST(value AS DECIMAL(18, 4)) IS NOT NULL AS INTEGER) AS valued,
    coalesce(epoch_us(event_timestamp) - lag(epoch_us(event_timestamp)) OVER visits, 999 * 86400000000) AS since,
    coalesce(lead(epoch_us(event_timestamp)) OVER visits - epoch_us(event_timestamp), 999 * 86400000000) AS until,
    CAST(lag(CAST(event_timestamp AS DATE)) OVER line IS DISTINCT FROM CAST(event_timestamp AS DATE) AS INTEGER)
        AS first_of_day,
    CAST(lead(CAST(event_timestamp AS DATE)) OVER line IS DISTINCT FROM CAST(event_timestamp AS DATE) AS INTEGER)
        AS last_of_day
FROM own_events
WINDOW
    visits AS (PARTITION BY item_id, user_id ORDER BY event_timestamp),
    line AS (PARTITION BY item_id ORDER BY event_timestamp);

WITH totals AS (
    SELECT
        item_id,
        event_timestamp,
        sum(sum(in_7d * weight)) OVER history AS weight_7d,
        sum(sum(in_30d * weight)) OVER history AS weight_30d,
        sum(sum(in_90d * weight)) OVER history AS weight_90d,
        sum(sum(in_all * weight)) OVER history AS weight_all,
        sum(sum(in_7d * passive)) OVER history AS passive_7d,
        sum(sum(in_30d * passive)) OVER history AS passive_30d,
        sum(sum(in_all * passive)) OVER history AS passive_all,
        sum(sum(in_7d * clicked)) OVER history AS clicked_7d,
        sum(sum(in_30d * clicked)) OVER history AS clicked_30d,
        sum(sum(in_all * clicked)) OVER history AS clicked_all,
        sum(sum(in_7d * consumed)) OVER history AS consumed_7d,
        sum(sum(in_30d * consumed)) OVER history AS consumed_30d,
        sum(sum(in_all * consumed)) OVER history AS consumed_all,
        sum(sum(in_7d)) OVER history AS events_7d,
        sum(sum(in_30d)) OVER history AS events_30d,
        sum(sum(entering * CAST(since > 7 * 86400000000 AS INTEGER)
            - leaving_7d * CAST(until > 7 * 86400000000 AS INTEGER))) OVER history AS users_7d,
        sum(sum(entering * CAST(since > 30 * 86400000000 AS INTEGER)
            - leaving_30d * CAST(until > 30 * 86400000000 AS INTEGER))) OVER history AS users_30d,
        sum(sum(entering * first_of_day - leaving_7d * last_of_day)) OVER history AS days_7d,
        sum(sum(entering * first_of_day - leaving_30d * last_of_day)) OVER history AS days_30d,
        sum(sum(entering * first_of_day)) OVER history AS days_all,
        sum(sum(in_30d * valued)) OVER history AS valued_30d,
        sum(sum(in_30d * amount)) OVER history AS amount_30d,
        sum(sum(in_30d * amount * amount)) OVER history AS square_30d,
        sum(sum(in_90d * valued)) OVER history AS valued_90d,
        sum(sum(in_90d * amount)) OVER history AS amount_90d,
        sum(sum(in_90d * amount * amount)) OVER history AS square_90d
    FROM changes
    GROUP BY item_id, event_timestamp
    WINDOW history AS (PARTITION BY item_id ORDER BY event_timestamp)
)

SELECT
    item_id,
    event_timestamp,
    weight_7d AS item_target_weight_7d,
    weight_30d AS item_target_weight_30d,
    weight_90d AS item_target_weight_90d,
    weight_all AS item_target_weight_all,
    passive_7d AS item_impressions_7d,
    passive_30d AS item_impressions_30d,
    passive_all AS item_impressions_all,
    CASE WHEN passive_7d > 0 THEN (clicked_7d + 1) / (greatest(passive_7d, clicked_7d) + 10) END AS item_ctr_7d,
    CASE WHEN passive_30d > 0 THEN (clicked_30d + 1) / (greatest(passive_30d, clicked_30d) + 10) END AS item_ctr_30d,
    CASE WHEN passive_all > 0 THEN (clicked_all + 1) / (greatest(passive_all, clicked_all) + 10) END AS item_ctr_all,
    CASE WHEN passive_7d > 0 THEN (consumed_7d + 1) / (greatest(passive_7d, consumed_7d) + 10) END
        AS item_conversion_7d,
    CASE WHEN passive_30d > 0 THEN (consumed_30d + 1) / (greatest(passive_30d, consumed_30d) + 10) END
        AS item_conversion_30d,
    CASE WHEN passive_all > 0 THEN (consumed_all + 1) / (greatest(passive_all, consumed_all) + 10) END
        AS item_conversion_all,
    users_7d AS item_users_7d,
    users_30d AS item_users_30d,
    1 - users_7d / nullif(events_7d, 0) AS item_repeat_share_7d,
    1 - users_30d / nullif(events_30d, 0) AS item_repeat_share_30d,
    days_7d AS item_days_7d,
    days_30d AS item_days_30d,
    days_all AS item_days_all,
    CASE WHEN valued_30d > 0 THEN sqrt(greatest(square_30d / valued_30d - power(amount_30d / valued_30d, 2), 0)) END
        AS item_value_spread_30d,
    CASE WHEN valued_90d > 0 THEN sqrt(greatest(square_90d / valued_90d - power(amount_90d / valued_90d, 2), 0)) END
        AS item_value_spread_90d
FROM totals
