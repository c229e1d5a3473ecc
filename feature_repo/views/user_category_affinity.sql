-- The log by category, as the item was known when the event happened. A share is the part of the user's target events
-- in the window that fell on an item of the category; an item of two categories counts for both.
CREATE TEMP VIEW log AS
SELECT
    user_id,
    event_timestamp,
    unnest(categories) AS category,
    TRY_CAST(value AS DECIMAL(18, 4)) AS amount,
    CAST(TRY_CAST(value AS DECIMAL(18, 4)) IS NOT NULL AS INTEGER) AS valued
FROM (
    SELECT events.*, items.categories
    FROM events
    ASOF JOIN items ON items.item_id = events.item_id AND items.event_timestamp <= events.event_timestamp
    WHERE events.target_weight > 0
);

WITH steps AS (
    SELECT
        user_id,
        category,
        event_timestamp,
        sum(in_7d) AS events_7d,
        sum(in_30d) AS events_30d,
        sum(in_all) AS events_all,
        sum(in_all * valued) AS valued,
        sum(in_all * amount) AS amount,
        max(occurred_at) AS last_at
    FROM changes
    GROUP BY user_id, category, event_timestamp
),

moments AS (
    SELECT DISTINCT user_id, event_timestamp FROM steps
),

-- Every category of a user at every moment of the user: between its own steps a category keeps its sums.
grid AS (
    SELECT moments.user_id, moments.event_timestamp, entered.category
    FROM moments
    JOIN (SELECT user_id, category, min(event_timestamp) AS since FROM steps GROUP BY user_id, category) AS entered
        ON entered.user_id = moments.user_id AND entered.since <= moments.event_timestamp
),

totals AS (
    SELECT
        grid.user_id,
        grid.category,
        grid.event_timestamp,
        sum(steps.events_7d) OVER history AS events_7d,
        sum(steps.events_30d) OVER history AS events_30d,
        sum(steps.events_all) OVER history AS events_all,
        sum(steps.valued) OVER history AS valued,
        sum(steps.amount) OVER history AS amount,
        max(steps.last_at) OVER history AS last_at
    FROM grid
    LEFT JOIN steps
        ON steps.user_id = grid.user_id
        AND steps.category = grid.category
        AND steps.event_timestamp = grid.event_timestamp
    WINDOW history AS (PARTITION BY grid.user_id, grid.category ORDER BY grid.event_timestamp)
),

shares AS (
    SELECT
        *,
        coalesce(events_7d / nullif(sum(events_7d) OVER moment, 0), 0) AS share_7d,
        coalesce(events_30d / nullif(sum(events_30d) OVER moment, 0), 0) AS share_30d,
        events_all / sum(events_all) OVER moment AS share_all
    FROM totals
    WINDOW moment AS (PARTITION BY user_id, event_timestamp)
)

SELECT
    user_id,
    event_timestamp,
    array_agg(category ORDER BY category) AS user_categories,
    array_agg(events_7d ORDER BY category) AS user_category_events_7d,
    array_agg(events_30d ORDER BY category) AS user_category_events_30d,
    array_agg(events_all ORDER BY category) AS user_category_events_all,
    array_agg(share_7d ORDER BY category) AS user_category_share_7d,
    array_agg(share_30d ORDER BY category) AS user_category_share_30d,
    array_agg(share_all ORDER BY category) AS user_category_share_all,
    array_agg(amount / nullif(valued, 0) ORDER BY category) AS user_category_value_mean,
    array_agg(date_trunc('second', last_at) ORDER BY category) AS user_category_last_at,
    count(*) AS user_categories_count
FROM shares
GROUP BY user_id, event_timestamp
