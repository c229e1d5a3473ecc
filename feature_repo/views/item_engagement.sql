-- Passive events are neither a target nor consumption: impressions. A click is a target that is no consumption. Rates
-- are the means of a Beta posterior with the prior Beta(1, 9): one success among ten trials, whatever the data set.
-- A user counts for a window from the first of the events on the item that lie within it to the last of them.
CREATE TEMP VIEW item_days AS
SELECT
    *,
    CAST(row_number() OVER (PARTITION BY item_id, day ORDER BY cell) = 1 AS INTEGER) AS first_of_day,
    CAST(lead(cell) OVER (PARTITION BY item_id, day ORDER BY cell) IS NULL AS INTEGER) AS last_of_day
FROM (
    SELECT
        item_id,
        epoch_us(event_timestamp) // 86400000000 AS day,
        cell,
        min(event_timestamp) AS event_timestamp,
        count(*) AS events,
        count(*) FILTER (target_weight > 0 AND NOT consuming) AS clicked,
        count(*) FILTER (consuming) AS consumed,
        count(*) FILTER (target_weight = 0 AND NOT consuming) AS passive,
        coalesce(sum(CAST(nullif(target_weight, 0) AS DECIMAL(18, 4))), 0) AS weight,
        count(TRY_CAST(value AS DECIMAL(18, 4))) AS valued,
        sum(TRY_CAST(value AS DECIMAL(18, 4))) AS amount,
        sum(TRY_CAST(value AS DECIMAL(18, 4)) * TRY_CAST(value AS DECIMAL(18, 4))) AS square
    FROM own_events
    GROUP BY item_id, day, cell
);

-- Of the events of a user on an item those of one cell are as good as one. Most pairs have no more: they need no line.
CREATE TEMP VIEW visits AS
WITH pairs AS (
    SELECT item_id, user_id, min(cell) AS cell, max(cell) AS last_cell FROM own_events GROUP BY item_id, user_id
)

SELECT item_id, cell, 999 * 86400000000 AS since, 999 * 86400000000 AS until FROM pairs WHERE cell = last_cell
UNION ALL
SELECT
    item_id,
    cell,
    coalesce(visited_at - lag(visited_at) OVER line, 999 * 86400000000) AS since,
    coalesce(lead(visited_at) OVER line - visited_at, 999 * 86400000000) AS until
FROM (
    SELECT item_id, user_id, own_events.cell, min(epoch_us(event_timestamp)) AS visited_at
    FROM own_events
    SEMI JOIN (SELECT item_id, user_id FROM pairs WHERE cell < last_cell) USING (item_id, user_id)
    GROUP BY item_id, user_id, own_events.cell
)
WINDOW line AS (PARTITION BY item_id, user_id ORDER BY cell);

CREATE TEMP VIEW log AS
SELECT cells.*, visitors.* EXCLUDE (item_id, cell)
FROM (
    SELECT
        item_id,
        cell,
        min(event_timestamp) AS event_timestamp,
        CAST(sum(events) AS INTEGER) AS events,
        CAST(sum(clicked) AS INTEGER) AS clicked,
        CAST(sum(consumed) AS INTEGER) AS consumed,
        CAST(sum(passive) AS INTEGER) AS passive,
        sum(weight) AS weight,
        CAST(sum(valued) AS INTEGER) AS valued,
        sum(amount) AS amount,
        sum(square) AS square,
        CAST(sum(first_of_day) AS INTEGER) AS first_days,
        CAST(sum(last_of_day) AS INTEGER) AS last_days
    FROM item_days
    GROUP BY item_id, cell
) AS cells
JOIN (
    SELECT
        item_id,
        cell,
        CAST(count(*) FILTER (since > 7 * 86400000000) AS INTEGER) AS come_7d,
        CAST(count(*) FILTER (until > 7 * 86400000000) AS INTEGER) AS gone_7d,
        CAST(count(*) FILTER (since > 30 * 86400000000) AS INTEGER) AS come_30d,
        CAST(count(*) FILTER (until > 30 * 86400000000) AS INTEGER) AS gone_30d
    FROM visits
    GROUP BY item_id, cell
) AS visitors USING (item_id, cell);

CREATE TEMP VIEW steps AS
SELECT
    item_id,
    event_timestamp,
    sum(in_7d * weight) AS weight_7d,
    sum(in_30d * weight) AS weight_30d,
    sum(in_90d * weight) AS weight_90d,
    sum(in_all * weight) AS weight_all,
    sum(in_7d * passive) AS passive_7d,
    sum(in_30d * passive) AS passive_30d,
    sum(in_all * passive) AS passive_all,
    sum(in_7d * clicked) AS clicked_7d,
    sum(in_30d * clicked) AS clicked_30d,
    sum(in_all * clicked) AS clicked_all,
    sum(in_7d * consumed) AS consumed_7d,
    sum(in_30d * consumed) AS consumed_30d,
    sum(in_all * consumed) AS consumed_all,
    sum(in_7d * events) AS events_7d,
    sum(in_30d * events) AS events_30d,
    sum(entering * come_7d - leaving_7d * gone_7d) AS users_7d,
    sum(entering * come_30d - leaving_30d * gone_30d) AS users_30d,
    sum(entering * first_days - leaving_7d * last_days) AS days_7d,
    sum(entering * first_days - leaving_30d * last_days) AS days_30d,
    sum(entering * first_days) AS days_all,
    sum(in_30d * valued) AS valued_30d,
    sum(in_30d * amount) AS amount_30d,
    sum(in_30d * square) AS square_30d,
    sum(in_90d * valued) AS valued_90d,
    sum(in_90d * amount) AS amount_90d,
    sum(in_90d * square) AS square_90d
FROM changes
GROUP BY item_id, event_timestamp;

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
FROM running_totals
